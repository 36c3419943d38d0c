/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Jobs that switches serve, from inside: what is said before both ends trust each other, keys and
 * addresses; and ranks and a switch as threads of this process, where the counters tell what a rank
 * sends.
 */
#include <errno.h>
#include <hocket/switch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fabric.h"

#define RANKS 8
#define COUNT (1u << 18)

static char folder[64], key_path[80], other_path[80];

/* --- the job --- */

static struct hk_job sample(void)
{
	struct hk_job job = {.nranks = 5,
			     .nswitches = 3,
			     .index = 1,
			     .parent = 5,
			     .timeout_ms = 1000,
			     .init_timeout_ms = 2000,
			     .channels = 2,
			     .slots = 4,
			     .slot_bytes = 32768,
			     .transports = "shm,tcp"};

	memset(job.id, 0x5a, sizeof(job.id));
	return job;
}

static void test_job(void **state)
{
	struct hk_switch_key key, other;
	struct hk_job job = sample(), got;
	uint8_t sealed[HK_JOB_BYTES], again[HK_JOB_BYTES];

	assert_int_equal(hk_switch_key_read(key_path, &key), 0);
	assert_int_equal(hk_switch_key_read(other_path, &other), 0);
	hk_job_seal(&key, &job, sealed);
	hk_job_seal(&key, &job, again);
	assert_memory_not_equal(sealed, again, sizeof(sealed)); /* a fresh nonce each time */
	memset(&got, 0, sizeof(got));
	assert_int_equal(hk_job_open(&key, sealed, sizeof(sealed), &got), 0);
	assert_memory_equal(&got, &job, sizeof(job));
	assert_int_equal(hk_job_open(&other, sealed, sizeof(sealed), &got), -HK_EAUTH);
	assert_int_equal(hk_job_open(&key, sealed, sizeof(sealed) - 1, &got), -HK_EWIRE);
	for (size_t i = 0; i < sizeof(sealed); i += 7) {
		sealed[i] ^= 1;
		assert_int_equal(hk_job_open(&key, sealed, sizeof(sealed), &got), -HK_EAUTH);
		sealed[i] ^= 1;
	}
	for (size_t i = 0; i + sizeof(job.id) <= sizeof(sealed); i++)
		assert_memory_not_equal(sealed + i, job.id, sizeof(job.id));
}

/* Nobody who knows the secret sends these, but a switch believes nothing. */
static void test_hostile_jobs(void **state)
{
	struct hk_job good = sample(), got;
	uint8_t plain[HK_JOB_BODY];

	for (int kind = 0; kind < 14; kind++) {
		struct hk_job job = good;

		if (kind == 0)
			job.nranks = 1;
		else if (kind == 1)
			job.nranks = UINT32_MAX - 1;
		else if (kind == 2)
			job.nswitches = 0;
		else if (kind == 3)
			job.nswitches = HK_SWITCH_MAX + 1;
		else if (kind == 4)
			job.index = 3;
		else if (kind == 5)
			job.parent = 4; /* a rank */
		else if (kind == 6)
			job.parent = 8; /* nobody */
		else if (kind == 7)
			job.parent = 6; /* itself */
		else if (kind == 8)
			job.timeout_ms = 0;
		else if (kind == 9)
			job.init_timeout_ms = UINT32_MAX;
		else if (kind == 10)
			job.slots = 1;
		else if (kind == 11)
			job.slot_bytes = 4097;
		else if (kind == 12)
			job.channels = 17;
		else
			strcpy(job.transports, "shm;rm");
		hk_job_format(&job, plain);
		if (hk_job_parse(plain, sizeof(plain), &got) != -HK_EWIRE)
			fail_msg("job %d is believed", kind);
	}
	hk_job_format(&good, plain);
	assert_int_equal(hk_job_parse(plain, sizeof(plain), &got), 0);
	assert_int_equal(hk_job_parse(plain, sizeof(plain) - 1, &got), -HK_EWIRE);
	memset(plain + sizeof(plain) - HK_JOB_TRANSPORTS, 'a', HK_JOB_TRANSPORTS);
	assert_int_equal(hk_job_parse(plain, sizeof(plain), &got), -HK_EWIRE); /* no end */
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, 0600), 0);
}

static void test_keys(void **state)
{
	struct hk_switch_key a, b;
	char path[80], text[80];

	snprintf(path, sizeof(path), "%s/bad", folder);
	assert_int_equal(hk_switch_key_read(path, &a), -ENOENT);
	assert_int_equal(hk_switch_key_make(key_path), -EEXIST);
	write_file(path, "not a key");
	assert_int_equal(hk_switch_key_read(path, &a), -EINVAL);
	memset(text, 'a', sizeof(text));
	text[65] = 0;
	write_file(path, text);
	assert_int_equal(hk_switch_key_read(path, &a), -EINVAL);
	text[64] = 0;
	write_file(path, text);
	assert_int_equal(hk_switch_key_read(path, &a), 0);
	text[64] = '\n';
	text[65] = 0;
	write_file(path, text);
	assert_int_equal(hk_switch_key_read(path, &b), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	/* Different keys for different purposes. */
	assert_memory_not_equal(a.door, a.jobs, sizeof(a.door));
	chmod(path, 0640);
	assert_int_equal(hk_switch_key_read(path, &a), -EACCES);
	unlink(path);
	assert_int_equal(hk_switch_key_read(folder, &a), -EINVAL);
}

/* --- a switch and ranks as threads --- */

struct served {
	hocketSwitch_t sw;
	pthread_t thread;
	int stop;
	char address[64];
};

static void *serve(void *arg)
{
	struct served *s = arg;

	assert_int_equal(hocketSwitchServe(s->sw, s->stop), hocketSuccess);
	return NULL;
}

static void start_switch(struct served *s, int max_jobs)
{
	hocketSwitchConfig_t config = {.size = sizeof(config),
				       .listen = "127.0.0.1:0",
				       .keyFile = key_path,
				       .name = "inside",
				       .maxJobs = max_jobs};

	assert_int_equal(hocketSwitchOpen(&config, &s->sw), hocketSuccess);
	assert_int_equal(hocketSwitchAddress(s->sw, s->address, sizeof(s->address)), hocketSuccess);
	s->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(s->stop >= 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop_switch(struct served *s)
{
	eventfd_write(s->stop, 1);
	pthread_join(s->thread, NULL);
	assert_int_equal(hocketSwitchClose(s->sw), hocketSuccess);
	close(s->stop);
}

struct rank {
	pthread_t thread;
	int rank, n, err, refused;
	const uint8_t *id;
	const char *algorithms, *key, *address; /* address NULL: no switch */
	struct hk_comm *comm;
	uint64_t bytes; /* that the call sent */
	bool through;	/* a switch */
};

static void connect_rank(struct rank *r)
{
	int parent[RANKS + 1];
	char *addresses[] = {(char *)(uintptr_t)r->address};
	struct hk_fabric_spec spec = {1, addresses, parent, r->key};
	struct hk_config config;

	r->err = hk_config_resolve(NULL, &config);
	if (r->algorithms)
		strcpy(config.algorithms, r->algorithms);
	if (!r->err)
		r->err = hk_comm_new(&config, &r->comm);
	if (!r->err)
		r->err = hk_boot_new(r->id, 1, r->n, r->rank, 20000, &r->comm->boot);
	if (!r->err)
		r->err = hk_comm_join(r->comm);
	for (int i = 0; i < r->n; i++)
		parent[i] = r->n;
	parent[r->n] = -1;
	if (!r->err && r->address)
		r->err = hk_fabric_attach_to(r->comm, &spec, &r->refused);
}

static void call_once(struct rank *r)
{
	float *buf = malloc(COUNT * sizeof(*buf));
	struct hk_request req = {.coll = HK_ALL_REDUCE,
				 .in = buf,
				 .out = buf,
				 .count = COUNT,
				 .type = hocketFloat32,
				 .op = hocketSum};

	for (size_t i = 0; buf && i < COUNT; i++)
		buf[i] = (float)(r->rank + (int)(i % 5));
	r->err = buf ? hk_request_accept(r->comm, &req, false) : -ENOMEM;
	if (!r->err)
		r->err = hk_comm_run(r->comm, &req);
	for (size_t i = 0; !r->err && i < COUNT; i += 331)
		if (buf[i] != (float)(r->n * (r->n - 1) / 2 + r->n * (int)(i % 5)))
			r->err = -EIO;
	r->bytes = r->comm->stats.bytes;
	r->through = r->comm->fabric && r->comm->fabric->calls == 1;
	free(buf);
}

static void *run_rank(void *arg)
{
	struct rank *r = arg;

	connect_rank(r);
	if (!r->err)
		call_once(r);
	return NULL;
}

/* Runs n ranks; they stay connected. */
static void start_job(struct rank *ranks, int n, const struct rank *like)
{
	uint8_t *id = malloc(HK_ID_BYTES);

	assert_non_null(id);
	assert_int_equal(hk_boot_unique_id(id), 0);
	for (int i = 0; i < n; i++) {
		ranks[i] = *like;
		ranks[i].rank = i;
		ranks[i].n = n;
		ranks[i].id = id;
		assert_int_equal(pthread_create(&ranks[i].thread, NULL, run_rank, &ranks[i]), 0);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(ranks[i].thread, NULL);
		if (ranks[i].err)
			fail_msg("rank %d of %d: %d", i, n, ranks[i].err);
	}
	free(id);
}

static void end_job(struct rank *ranks, int n)
{
	for (int i = 0; i < n; i++)
		hk_comm_destroy(ranks[i].comm);
}

/* A rank sends its buffer once, and next to nothing besides. */
static void test_bytes(void **state)
{
	const double buffer = COUNT * sizeof(float);
	struct rank ranks[RANKS];
	struct served s;
	uint64_t calls = 0;
	int jobs = 0;

	start_switch(&s, 0);
	start_job(ranks, RANKS,
		  &(struct rank){.algorithms = "switch_all_reduce",
				 .key = key_path,
				 .address = s.address});
	for (int i = 0; i < RANKS; i++) {
		assert_true(ranks[i].through);
		assert_int_equal(ranks[i].refused, 0);
		assert_true((double)ranks[i].bytes >= buffer);
		assert_true((double)ranks[i].bytes <= 1.02 * buffer);
	}
	/* The ranks may be through before the switch has counted. */
	for (int i = 0; i < 5000 && !calls; i++) {
		assert_int_equal(hocketSwitchLoad(s.sw, &jobs, &calls), hocketSuccess);
		usleep(1000);
	}
	assert_int_equal(jobs, 1);
	assert_int_equal(calls, 1);
	end_job(ranks, RANKS);
	start_job(ranks, RANKS, &(struct rank){.algorithms = "ring_all_reduce"});
	for (int i = 0; i < RANKS; i++) {
		assert_false(ranks[i].through);
		assert_true((double)ranks[i].bytes > 1.74 * buffer);
	}
	end_job(ranks, RANKS);
	stop_switch(&s);
}

/* Why there are no switches is known, and the job works. */
static void test_refusals(void **state)
{
	struct rank first[2], second[2];
	struct served s;

	start_switch(&s, 1);
	start_job(first, 2,
		  &(struct rank){.algorithms = "switch_all_reduce",
				 .key = other_path,
				 .address = s.address});
	assert_int_equal(first[0].refused, -HK_EAUTH);
	assert_int_equal(first[1].refused, -HK_EAUTH);
	assert_false(first[0].through);
	end_job(first, 2);
	start_job(first, 2,
		  &(struct rank){.algorithms = "switch_all_reduce",
				 .key = key_path,
				 .address = s.address});
	assert_true(first[0].through);
	start_job(second, 2,
		  &(struct rank){.algorithms = "switch_all_reduce",
				 .key = key_path,
				 .address = s.address});
	assert_int_equal(second[1].refused, -EBUSY);
	assert_false(second[0].through);
	end_job(first, 2);
	end_job(second, 2);
	stop_switch(&s);
}

/* The switch is told to end while a job still has it: the next call finds out, or fails. */
static void *call_again(void *arg)
{
	struct rank *r = arg;

	call_once(r);
	if (r->err == -HK_ESWITCH)
		call_once(r);
	return NULL;
}

static void test_stopped(void **state)
{
	struct rank ranks[3];
	struct served s;

	start_switch(&s, 0);
	start_job(ranks, 3,
		  &(struct rank){.algorithms = "switch_all_reduce",
				 .key = key_path,
				 .address = s.address});
	stop_switch(&s);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&ranks[i].thread, NULL, call_again, &ranks[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(ranks[i].thread, NULL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ranks[i].err, 0);
		assert_null(ranks[i].comm->fabric);
	}
	end_job(ranks, 3);
}

static void test_bad_config(void **state)
{
	hocketSwitchConfig_t config = {
		.size = sizeof(config), .listen = "127.0.0.1:0", .keyFile = key_path};
	hocketSwitch_t sw = NULL;

	config.listen = "127.0.0.1";
	assert_int_equal(hocketSwitchOpen(&config, &sw), hocketInvalidArgument);
	config.listen = "no.such.host.invalid:1";
	assert_int_equal(hocketSwitchOpen(&config, &sw), hocketInvalidArgument);
	config.listen = "127.0.0.1:0";
	config.maxJobs = -1;
	assert_int_equal(hocketSwitchOpen(&config, &sw), hocketInvalidArgument);
	config.maxJobs = 0;
	config.size = 8;
	assert_int_equal(hocketSwitchOpen(&config, &sw), hocketInvalidArgument);
	assert_int_equal(hocketSwitchOpen(NULL, &sw), hocketInvalidArgument);
	assert_int_equal(hocketSwitchServe(NULL, -1), hocketInvalidArgument);
	assert_int_equal(hocketSwitchClose(NULL), hocketSuccess);
	assert_null(sw);
}

static int setup(void **state)
{
	strcpy(folder, "/tmp/hocket-fabric-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(key_path, sizeof(key_path), "%s/key", folder);
	snprintf(other_path, sizeof(other_path), "%s/other", folder);
	return hk_switch_key_make(key_path) || hk_switch_key_make(other_path);
}

static int cleanup(void **state)
{
	unlink(key_path);
	unlink(other_path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_job),	   cmocka_unit_test(test_hostile_jobs),
		cmocka_unit_test(test_keys),	   cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_refusals),   cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_bad_config),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, setup, cleanup);
}
