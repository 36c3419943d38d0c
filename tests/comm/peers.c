/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranks for the bootstrap's tests, in threads and in processes. See peers.h. */
#include "peers.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "error.h"

bool peers_split_hosts;

void peers_environment(void)
{
	setenv("HOCKET_IFNAME", "lo", 0);
	setenv("HOCKET_DEBUG", "0", 0);
	setenv("HOCKET_INIT_TIMEOUT_MS", "20000", 0);
}

int64_t now_ms(void)
{
	return hk_now_ns() / 1000000;
}

void expect(struct peer *p, bool fine, const char *what)
{
	if (!fine && !p->wrong[0])
		snprintf(p->wrong, sizeof(p->wrong), "%s (last error: %s)", what, hk_last_error());
}

void peers_fresh_id(struct peer *peers, int count)
{
	uint8_t id[HK_ID_BYTES];

	assert_int_equal(hk_boot_unique_id(id), 0);
	for (int i = 0; i < count; i++)
		memcpy(peers[i].id, id, sizeof(id));
}

void peers_init(struct peer *peers, int nranks, void (*body)(struct peer *, struct hk_boot *))
{
	memset(peers, 0, (size_t)nranks * sizeof(*peers));
	for (int r = 0; r < nranks; r++) {
		peers[r].rank = r;
		peers[r].nranks = nranks;
		peers[r].timeout_ms = 20000;
		peers[r].body = body;
	}
	peers_fresh_id(peers, nranks);
}

void peers_init_parts(struct peer *peers, int nranks, int nids,
		      void (*body)(struct peer *, struct hk_boot *))
{
	static uint8_t ids[MOST_PEERS][MOST_PEERS][HK_ID_BYTES];

	peers_init(peers, nranks, body);
	for (int i = 0; i < nids; i++)
		assert_int_equal(hk_boot_unique_id(ids[0][i]), 0);
	for (int r = 0; r < nranks; r++) {
		if (r)
			memcpy(ids[r], ids[0], sizeof(ids[r]));
		peers[r].nids = nids;
		peers[r].ids = &ids[r][0][0];
	}
}

static int join(struct peer *p, struct hk_boot **b)
{
	int err;

	if (!p->nids)
		return hk_boot_open(p->id, p->nranks, p->rank, p->timeout_ms, b);
	err = hk_boot_new(p->ids, p->nids, p->nranks, p->rank, p->timeout_ms, b);
	if (err)
		return err;
	err = hk_boot_join(*b);
	if (err) {
		hk_boot_abort(*b, err);
		hk_boot_close(*b);
	}
	return err;
}

static void *run(void *arg)
{
	struct peer *p = arg;
	struct hk_boot *b = NULL;
	int64_t began;

	usleep(p->delay_ms * 1000);
	began = now_ms();
	p->err = join(p, &b);
	p->took_ms = now_ms() - began;
	if (p->err) {
		snprintf(p->text, sizeof(p->text), "%s", hk_last_error());
		return NULL;
	}
	if (p->body)
		p->body(p, b);
	if (p->keep_open)
		p->boot = b;
	else
		hk_boot_close(b);
	return NULL;
}

void peers_run(struct peer *peers, int count)
{
	pthread_t threads[MOST_PEERS];

	assert_true(count <= MOST_PEERS);
	for (int i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, &peers[i]), 0);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

void peers_run_well(struct peer *peers, int count)
{
	peers_run(peers, count);
	for (int i = 0; i < count; i++) {
		assert_string_equal(peers[i].text, "");
		assert_int_equal(peers[i].err, 0);
		assert_string_equal(peers[i].wrong, "");
	}
}

/* The child's side; the id goes from rank 0 to all through a pipe. */
static int run_child(int nranks, int rank, void (*body)(struct peer *, struct hk_boot *),
		     size_t bytes, const int pipefd[2])
{
	static struct peer p;

	if (peers_split_hosts)
		setenv("HOCKET_HOST_ID", rank ? "one" : "zero", 1);
	p.rank = rank;
	p.nranks = nranks;
	p.timeout_ms = 20000;
	p.body = body;
	p.bytes = bytes;
	if (rank == 0) {
		if (hk_boot_unique_id(p.id))
			return 1;
		for (int i = 0; i < nranks; i++)
			if (write(pipefd[1], p.id, sizeof(p.id)) != (ssize_t)sizeof(p.id))
				return 1;
	}
	if (read(pipefd[0], p.id, sizeof(p.id)) != (ssize_t)sizeof(p.id))
		return 1;
	run(&p);
	if (p.err || p.wrong[0])
		fprintf(stderr, "rank %d of %d: %s%s\n", rank, nranks, p.text, p.wrong);
	return p.err || p.wrong[0] ? 2 : 0;
}

void peers_fork_well(int nranks, void (*body)(struct peer *, struct hk_boot *), size_t bytes,
		     int victim)
{
	pid_t pids[MOST_PEERS];
	int pipefd[2];

	assert_int_equal(pipe(pipefd), 0);
	for (int r = 0; r < nranks; r++) {
		pids[r] = fork();
		assert_true(pids[r] >= 0);
		if (pids[r] == 0)
			_exit(run_child(nranks, r, body, bytes, pipefd));
	}
	close(pipefd[0]);
	close(pipefd[1]);
	for (int r = 0; r < nranks; r++) {
		int status;

		assert_int_equal(waitpid(pids[r], &status, 0), pids[r]);
		if (r == victim)
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		else
			assert_int_equal(status, 0);
	}
}

int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int await_dial(struct hk_wire *w, int peer, uint32_t tag, int64_t most_ms, int *sock)
{
	int64_t until = now_ms() + most_ms;
	int rc;

	while (!(rc = w->ops->answer(w, peer, tag, sock)) && now_ms() < until)
		usleep(500);
	return rc;
}

int await_failure(struct hk_boot *b, int64_t ms, const char **text)
{
	int64_t until = now_ms() + ms;
	int code;

	while (!(code = hk_boot_failed(b, text)) && now_ms() < until)
		usleep(2000);
	return code;
}
