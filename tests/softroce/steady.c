/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A job that makes checked collective calls for a while, and then says how it went: what the suites
 * of faults disturb. Each rank prints one line,
 *
 *     rank 0: ok calls=31 longest_ms=412
 *     rank 0: hocketRemoteError at_ms=73211 calls=12: the library's sentence
 *
 * where at_ms is of the clock of /proc/uptime, so that a script can tell how long after its fault
 * that was. Flags:
 *
 *     --ready FILE     rank 0 makes it when all ranks have made their first calls
 *     --ms N           calls go on for so long (0)
 *     --until FILE     and until this file is there
 *     --hold RANK      this rank makes no more calls before FILE.go is there (FILE: --ready's);
 *                      -1: no rank does
 *     --bytes N        of the buffers (262144)
 *     --abort          ends with hocketCommAbort instead of hocketCommDestroy
 *     --packets RAIL   only ends when every rank's card on that rail received packets in a call
 *
 * Exits with 0 if the calls did what they should or failed with an error, 3 if a result was wrong,
 * 4 if the rail that was asked for was not used within 30 s.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "fabric.h"

#define MS	INT64_C(1000000)
#define CARRIES 16
#define MOST_MS 30000

struct options {
	const char *ready, *until;
	int64_t ms;
	int hold_rank, rail;
	size_t bytes;
	bool abort;
};

struct tally {
	long calls;
	int64_t longest;
	unsigned wrong;
	bool carried;
};

static struct options parse(int argc, char **argv)
{
	struct options o = {.rail = -1, .hold_rank = -2, .bytes = 262144};

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--abort"))
			o.abort = true;
		else if (!strcmp(argv[i], "--ready") && i + 1 < argc)
			o.ready = argv[++i];
		else if (!strcmp(argv[i], "--ms") && i + 1 < argc)
			o.ms = atol(argv[++i]);
		else if (!strcmp(argv[i], "--bytes") && i + 1 < argc)
			o.bytes = (size_t)atol(argv[++i]);
		else if (!strcmp(argv[i], "--packets") && i + 1 < argc)
			o.rail = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--until") && i + 1 < argc)
			o.until = argv[++i];
		else if (!strcmp(argv[i], "--hold") && i + 1 < argc)
			o.hold_rank = atoi(argv[++i]);
		else {
			fprintf(stderr, "steady does not know %s\n", argv[i]);
			exit(2);
		}
	}
	return o;
}

static const char *code_name(hocketResult_t rc)
{
	switch (rc) {
	case hocketRemoteError:
		return "hocketRemoteError";
	case hocketSystemError:
		return "hocketSystemError";
	default:
		return hocketGetErrorString(rc);
	}
}

static hocketResult_t one_call(struct calls *c, const struct options *o, struct tally *t)
{
	long long before = o->rail >= 0 ? fabric_packets((unsigned)o->rail, (unsigned)c->rank) : 0;
	char go[256];
	int64_t ns = 0;
	hocketResult_t rc;

	snprintf(go, sizeof(go), "%s.go", o->ready ? o->ready : "");
	while ((o->hold_rank == c->rank || o->hold_rank == -1) && access(go, F_OK))
		usleep(10000);
	rc = calls_make(c, (enum call)(t->calls % CALL_KINDS), &ns, &t->wrong);
	if (rc != hocketSuccess)
		return rc;
	t->calls++;
	if (ns > t->longest)
		t->longest = ns;
	t->carried = o->rail < 0 ||
		     fabric_packets((unsigned)o->rail, (unsigned)c->rank) - before >= CARRIES;
	return rc;
}

/* Calls for the time that was asked for; all ranks end after the same call. */
static hocketResult_t go_on(struct calls *c, const struct options *o, struct tally *t)
{
	int64_t start = calls_now_ns(), more = 1;

	while (more > 0) {
		int64_t elapsed;
		hocketResult_t rc = one_call(c, o, t);

		if (rc != hocketSuccess)
			return rc;
		elapsed = calls_now_ns() - start;
		more = elapsed < o->ms * MS || (!t->carried && elapsed < MOST_MS * MS) ||
		       (o->until && access(o->until, F_OK));
		rc = hocketAllReduce(&more, &more, 1, hocketInt64, hocketMax, c->comm, NULL);
		if (rc != hocketSuccess)
			return rc;
	}
	return hocketSuccess;
}

static void make_file(const char *path)
{
	FILE *f = fopen(path, "w");

	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct tally t = {0};
	struct calls c = {0};
	hocketResult_t rc = hocketSuccess;

	calls_join(&c);
	calls_buffers(&c, o.bytes / sizeof(float), false);
	for (int i = 0; i < CALL_KINDS && rc == hocketSuccess; i++) {
		struct options plain = {.rail = -1, .hold_rank = -2};

		rc = one_call(&c, &plain, &t);
	}
	t.longest = 0;
	if (rc == hocketSuccess && o.ready && !c.rank)
		make_file(o.ready);
	if (rc == hocketSuccess)
		rc = go_on(&c, &o, &t);
	if (rc != hocketSuccess)
		printf("rank %d: %s at_ms=%lld calls=%ld: %s\n", c.rank, code_name(rc),
		       (long long)(calls_now_ns() / MS), t.calls, hocketGetLastError(c.comm));
	if (o.abort || rc != hocketSuccess)
		rc = hocketCommAbort(c.comm);
	else if ((rc = hocketCommDestroy(c.comm)) == hocketSuccess)
		printf("rank %d: ok calls=%ld longest_ms=%lld\n", c.rank, t.calls,
		       (long long)(t.longest / MS));
	fflush(stdout);
	calls_free(&c);
	if (t.wrong)
		return 3;
	return rc == hocketSuccess && !t.carried && t.calls > CALL_KINDS ? 4 : 0;
}
