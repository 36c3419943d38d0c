/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random rail failures while collectives run. Each rank of a job in the bridge bed runs this; all
 * draw the same failures from the same seed, and the rank whose card fails breaks it from a thread
 * of its own at a random moment of a call, or between calls, and mends it later. Calls go on until
 * the mended rail carries packets again. Every result is checked to the bit (calls.h). Rank 0
 * prints a line for each failure and a summary; tests/softroce/README.md explains them.
 *
 *     hocket run -n 2 on-rank rail_faults [--seed N] [--count N] [--bytes N] [--limit-ms N]
 *
 * Exits with 1 if a result was wrong, a call failed or took longer than the limit, or a rail was
 * not used again.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "fabric.h"

#define IDLE	     CALL_KINDS /* the phase between calls */
#define RAILS	     2
#define IDLE_MS	     250
#define SHORT_MS     60	  /* a failure's length, at least ... */
#define LONG_MS	     1500 /* ... and at most */
#define BACK_MS	     30000
#define CARRIES	     32 /* packets in a call, on a rail that is used */
#define WARM_CALLS   7
#define MOST_LOSSES  256
#define MS	     INT64_C(1000000)
#define MOST_COUNTED 100000

struct failure {
	enum fabric_fault kind;
	unsigned rail, rank, phase, hold_ms;
	double at; /* of an undisturbed call */
};

/* What came of it. Times are the clock's, in ns; 0: it did not happen. */
struct outcome {
	int64_t injected, mended, back, lost, begun, longest, wrong, calls;
	enum call longest_kind;
};

struct run {
	struct calls calls;
	uint64_t random;
	long count;
	int64_t limit_ms;
	size_t bytes;
	int64_t typical[CALL_KINDS];
	struct failure now;
	int64_t break_at;
	_Atomic int64_t injected, mended;
	_Atomic int fault_error;
};

/* --- what the library says: when it lost paths --- */

static int log_pipe[2], log_out;
static _Atomic int64_t losses[MOST_LOSSES];
static atomic_uint nlosses;

static void *watch_log(void *arg)
{
	FILE *f = fdopen(log_pipe[0], "r");
	char line[1024];

	(void)arg;
	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, " lost the path "))
			losses[nlosses++ % MOST_LOSSES] = calls_now_ns();
		if (write(log_out, line, strlen(line)) < 0)
			break;
	}
	return NULL;
}

static void tap_log(void)
{
	pthread_t thread;

	log_out = dup(STDERR_FILENO);
	if (log_out < 0 || pipe(log_pipe) || dup2(log_pipe[1], STDERR_FILENO) < 0 ||
	    pthread_create(&thread, NULL, watch_log, NULL))
		exit(2);
	pthread_detach(thread);
}

/* The first loss since then, or 0. */
static int64_t loss_since(int64_t t)
{
	unsigned end = nlosses, n = end < MOST_LOSSES ? end : MOST_LOSSES;

	for (unsigned i = end - n; i != end; i++)
		if (losses[i % MOST_LOSSES] >= t)
			return losses[i % MOST_LOSSES];
	return 0;
}

/* --- failures --- */

static uint64_t draw(struct run *r)
{
	uint64_t x = r->random += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static struct failure draw_failure(struct run *r)
{
	struct failure f;

	f.kind = (enum fabric_fault)(draw(r) % FABRIC_FAULTS);
	f.rail = (unsigned)(draw(r) % RAILS);
	f.rank = (unsigned)(draw(r) % (unsigned)r->calls.nranks);
	f.phase = (unsigned)(draw(r) % (CALL_KINDS + 1));
	f.hold_ms = SHORT_MS + (unsigned)(draw(r) % (LONG_MS - SHORT_MS));
	f.at = (double)(draw(r) % 1000) / 1000;
	return f;
}

static void sleep_until(int64_t at)
{
	struct timespec t = {at / INT64_C(1000000000), at % INT64_C(1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

static void *break_and_mend(void *arg)
{
	struct run *r = arg;
	const struct failure *f = &r->now;
	int err;

	sleep_until(r->break_at);
	r->injected = calls_now_ns();
	err = fabric_set(f->kind, f->rail, f->rank, true);
	if (err)
		r->fault_error = err;
	sleep_until(r->injected + f->hold_ms * MS);
	err = fabric_set(f->kind, f->rail, f->rank, false);
	if (err)
		r->fault_error = err;
	r->mended = calls_now_ns();
	return NULL;
}

/* --- calls --- */

static void must(const struct run *r, hocketResult_t rc, const char *what)
{
	if (rc == hocketSuccess)
		return;
	fprintf(stderr, "rank %d: %s: %s: %s\n", r->calls.rank, what, hocketGetErrorString(rc),
		hocketGetLastError(NULL));
	usleep(200000); /* the log's thread passes it on */
	exit(1);
}

static void greatest(const struct run *r, int64_t *values, size_t n)
{
	must(r, hocketAllReduce(values, values, n, hocketInt64, hocketMax, r->calls.comm, NULL),
	     "agreeing");
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void one_call(struct run *r, enum call kind, struct outcome *o)
{
	unsigned wrong = 0;
	int64_t ns = 0;

	must(r, calls_make(&r->calls, kind, &ns, &wrong), call_names[kind]);
	o->calls++;
	o->wrong += wrong;
	if (ns - r->typical[kind] > o->longest)
		o->longest = ns - r->typical[kind];
}

static void learn_typical(struct run *r)
{
	struct outcome o = {0};

	for (enum call k = 0; k < CALL_KINDS; k++) {
		int64_t ns[WARM_CALLS];
		unsigned wrong = 0;

		for (int i = 0; i < WARM_CALLS; i++)
			must(r, calls_make(&r->calls, k, &ns[i], &wrong), call_names[k]);
		qsort(ns, WARM_CALLS, sizeof(ns[0]), compare);
		r->typical[k] = ns[WARM_CALLS / 2];
		o.wrong += wrong;
	}
	greatest(r, r->typical, CALL_KINDS);
	if (o.wrong)
		exit(1);
}

/* Whether the rail's card received packets in the last call, since it has been mended. */
static bool carries(const struct run *r, long long *before, struct outcome *o)
{
	long long now = fabric_packets(r->now.rail, r->now.rank);
	bool used = now - *before >= CARRIES;

	*before = now;
	return o->mended && used;
}

/* Calls until the mended rail is used again. */
static void live_through(struct run *r, struct outcome *o)
{
	bool victim = r->now.rank == (unsigned)r->calls.rank;
	int64_t end = calls_now_ns() + r->now.hold_ms * MS + BACK_MS * MS, done = 0;
	enum call kind = (enum call)(r->now.phase % CALL_KINDS);
	long long packets = fabric_packets(r->now.rail, r->now.rank);
	pthread_t thread;

	r->injected = r->mended = 0;
	o->begun = calls_now_ns();
	r->break_at =
		o->begun + (int64_t)(r->now.at * (double)(r->now.phase == IDLE ? IDLE_MS * MS
									       : r->typical[kind]));
	if (victim && pthread_create(&thread, NULL, break_and_mend, r))
		exit(2);
	if (r->now.phase == IDLE)
		sleep_until(o->begun + IDLE_MS * MS);
	while (!done) {
		one_call(r, kind, o);
		kind = (enum call)((kind + 1) % CALL_KINDS);
		if (victim && carries(r, &packets, o))
			o->back = calls_now_ns();
		o->mended = victim ? r->mended : 0; /* before the next call */
		done = o->back || (victim && calls_now_ns() > end);
		greatest(r, &done, 1);
	}
	if (!victim)
		return;
	pthread_join(thread, NULL);
	o->injected = r->injected;
	if (r->fault_error) {
		fprintf(stderr, "rank %d could not make or mend a fault: %s\n", r->calls.rank,
			strerror(-r->fault_error));
		exit(2);
	}
}

/* All ranks learn of all. */
static void gather_outcome(struct run *r, struct outcome *o)
{
	int64_t v[] = {o->injected, o->mended,
		       o->back,	    o->longest,
		       o->wrong,    r->now.rank == (unsigned)r->calls.rank ? o->begun : 0};
	int64_t lost;

	greatest(r, v, sizeof(v) / sizeof(v[0]));
	o->injected = v[0];
	o->mended = v[1];
	o->back = v[2];
	o->longest = v[3];
	o->wrong = v[4];
	o->begun = v[5];
	lost = loss_since(o->injected);
	lost = lost ? -lost : INT64_MIN;
	greatest(r, &lost, 1);
	o->lost = lost == INT64_MIN ? 0 : -lost;
}

/* --- the log --- */

static void print_ms(const char *name, int64_t ns, bool known)
{
	if (known)
		printf(" %s=%.1f", name, (double)ns / 1e6);
	else
		printf(" %s=-", name);
}

static void print_failure(const struct run *r, long n, const struct outcome *o)
{
	const struct failure *f = &r->now;
	const char *phase = f->phase == IDLE ? "idle" : call_names[f->phase];
	time_t t = time(NULL);
	char when[32];

	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
	printf("n=%ld time=%s kind=%s rail=%u rank=%u phase=%s memory=%s", n, when,
	       fabric_names[f->kind], f->rail, f->rank, phase,
	       r->calls.plain ? "plain" : "library");
	print_ms("at_ms", o->injected - o->begun, true);
	print_ms("of_ms", f->phase == IDLE ? IDLE_MS * MS : r->typical[f->phase], true);
	print_ms("hold_ms", o->mended - o->injected, o->mended != 0);
	print_ms("detect_ms", o->lost - o->injected, o->lost != 0);
	print_ms("stall_ms", o->longest, true);
	print_ms("back_ms", o->back - o->mended, o->back != 0);
	printf(" calls=%lld result=%s\n", (long long)o->calls, o->wrong ? "wrong" : "ok");
	fflush(stdout);
}

static void print_summary(long count, long good, long back, int64_t *stalls)
{
	long under = 0;

	qsort(stalls, (size_t)count, sizeof(*stalls), compare);
	for (long i = 0; i < count; i++)
		under += stalls[i] < 1000 * MS;
	printf("summary failures=%ld correct=%ld used_again=%ld stall_under_1s=%ld", count, good,
	       back, under);
	print_ms("stall_p50_ms", stalls[count / 2], true);
	print_ms("stall_p90_ms", stalls[count * 9 / 10], true);
	print_ms("stall_max_ms", stalls[count - 1], true);
	printf("\n");
}

static void parse(struct run *r, int argc, char **argv)
{
	r->random = 1;
	r->count = 100;
	r->bytes = 1 << 20;
	r->limit_ms = 10000;
	for (int i = 1; i + 1 < argc; i += 2) {
		unsigned long long v = strtoull(argv[i + 1], NULL, 10);

		if (!strcmp(argv[i], "--seed"))
			r->random = v;
		else if (!strcmp(argv[i], "--count") && v && v <= MOST_COUNTED)
			r->count = (long)v;
		else if (!strcmp(argv[i], "--bytes") && v >= 4096)
			r->bytes = (size_t)v;
		else if (!strcmp(argv[i], "--limit-ms"))
			r->limit_ms = (int64_t)v;
		else
			argc = 0;
	}
	if (argc % 2 == 0) {
		fprintf(stderr, "usage: rail_faults [--seed N] [--count N] [--bytes N] "
				"[--limit-ms N]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct run r = {0};
	long good = 0, back = 0;
	int64_t *stalls;
	bool slow;

	parse(&r, argc, argv);
	stalls = calloc((size_t)r.count, sizeof(*stalls));
	if (!stalls)
		return 2;
	tap_log();
	if (getenv("HOCKET_RANK") && !strcmp(getenv("HOCKET_RANK"), "0"))
		printf("seed=%llu failures=%ld bytes=%zu\n", (unsigned long long)r.random, r.count,
		       r.bytes);
	calls_join(&r.calls);
	for (long n = 0; n < r.count; n++) {
		struct outcome o = {0};

		r.now = draw_failure(&r);
		if (r.calls.in)
			calls_free(&r.calls);
		calls_buffers(&r.calls, r.bytes / sizeof(float), n & 1);
		if (!n)
			learn_typical(&r);
		live_through(&r, &o);
		gather_outcome(&r, &o);
		stalls[n] = o.longest;
		good += !o.wrong;
		back += o.back != 0;
		if (!r.calls.rank)
			print_failure(&r, n + 1, &o);
	}
	calls_free(&r.calls);
	must(&r, hocketCommDestroy(r.calls.comm), "the end");
	if (!r.calls.rank)
		print_summary(r.count, good, back, stalls);
	qsort(stalls, (size_t)r.count, sizeof(*stalls), compare);
	slow = stalls[r.count - 1] > r.limit_ms * MS;
	free(stalls);
	return good < r.count || back < r.count || slow;
}
