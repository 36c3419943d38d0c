/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's end of `hocket run --hosts`; run_remote.h has the protocol. It trusts who has started
 * it, as a shell does, but takes no more than fits its buffer, and every number is bounded.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run_output.h"
#include "run_remote.h"

struct agent {
	struct hk_run_job job; /* first: found from it */
	struct hk_run_ranks ranks;
	size_t used, taken; /* bytes in text, and those that have been read as fields or commands */
	size_t kept;	    /* the description's, which stay: the program and its variables */
	char text[HK_RUN_MOST_BYTES + 4096];
};

/* Reads some more; false at the end, or when there is no room. */
static bool more(struct agent *a)
{
	ssize_t n;

	if (a->used == sizeof(a->text))
		return false;
	do
		n = read(STDIN_FILENO, a->text + a->used, sizeof(a->text) - a->used);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	a->used += (size_t)n;
	return true;
}

/* What comes before the next `end` byte, which becomes 0; NULL if there is no more. */
static char *next(struct agent *a, char end)
{
	for (size_t at = a->taken;; at++) {
		char *field = a->text + a->taken;

		if (at == a->used && !more(a))
			return NULL;
		if (a->text[at] != end)
			continue;
		a->text[at] = 0;
		a->taken = at + 1;
		return field;
	}
}

static int number(struct agent *a, int most)
{
	const char *text = next(a, 0);
	char *end = NULL;
	long v = text ? strtol(text, &end, 10) : -1;

	return text && end > text && !*end && v >= 0 && v <= most ? (int)v : -1;
}

static bool read_variables(struct agent *a)
{
	int n = number(a, HK_RUN_MOST_BYTES);

	for (int i = 0; i < n; i++) {
		char *var = next(a, 0);

		/* The text stays where it is as long as the process lives. */
		if (!var || !strchr(var, '=') || putenv(var))
			return false;
	}
	return n >= 0;
}

static bool read_program(struct agent *a)
{
	int n = number(a, HK_RUN_MOST_BYTES);

	if (n < 1)
		return false;
	a->ranks.program = calloc((size_t)n + 1, sizeof(char *));
	for (int i = 0; a->ranks.program && i < n; i++)
		if (!(a->ranks.program[i] = next(a, 0)))
			return false;
	return a->ranks.program;
}

static bool read_description(struct agent *a)
{
	struct hk_run_ranks *r = &a->ranks;
	const char *word = next(a, 0), *folder;
	int bind, prefix;

	if (!word || strcmp(word, HK_RUN_WIRE))
		return false;
	r->host = next(a, 0);
	r->first = number(a, HK_RUN_MOST_RANKS);
	r->n = number(a, HK_RUN_MOST_RANKS);
	r->nranks = number(a, HK_RUN_MOST_RANKS);
	bind = number(a, HK_RUN_NO_BIND);
	prefix = number(a, 1);
	folder = next(a, 0);
	if (!r->host || r->first < 0 || r->n < 1 || r->first + r->n > r->nranks || bind < 0 ||
	    prefix < 0 || !folder || !read_variables(a) || !read_program(a))
		return false;
	r->bind = (enum hk_run_bind)bind;
	r->prefix = prefix;
	word = next(a, 0);
	if (chdir(folder))
		fprintf(stderr, "hocket run: %s has no folder %s: starting where it is\n", r->host,
			folder);
	a->kept = a->taken;
	return word && !strcmp(word, "end");
}

/* --- telling and being told --- */

/* In one write, so that it stays a line. */
static void tell(const char *text)
{
	char line[HK_RUN_ID_DIGITS + 64];
	int n = snprintf(line, sizeof(line), HK_RUN_MARK "%s\n", text);

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* then nobody is there, which the end of the input tells */
}

static int rank_ended(struct hk_run_job *job, int child, const siginfo_t *end)
{
	int status = hk_run_ranks_ended(job, child, end);
	char text[32];

	if (status) {
		snprintf(text, sizeof(text), "failed %d", status);
		tell(text);
	}
	return status;
}

/* Obeys all whole commands that are there. They make room when they are done; a part of one stays.
 */
static void obey(struct agent *a)
{
	while (memchr(a->text + a->taken, '\n', a->used - a->taken)) {
		const char *line = next(a, '\n');

		if (!strncmp(line, "signal ", 7) && atoi(line + 7) > 0 && atoi(line + 7) < SIGRTMIN)
			hk_run_job_signal(&a->job, atoi(line + 7));
	}
	memmove(a->text + a->kept, a->text + a->taken, a->used - a->taken);
	a->used -= a->taken - a->kept;
	a->taken = a->kept;
}

static bool commanded(struct hk_run_job *job)
{
	struct agent *a = (struct agent *)job;

	if (!more(a))
		return false;
	obey(a);
	return true;
}

static const struct hk_run_kind kind = {
	.noun = "rank",
	.signal = hk_run_ranks_signal,
	.ended = rank_ended,
	.commanded = commanded,
};

/* The host of rank 0 makes the id; all get it as a command. Other commands mean the end. */
static bool get_id(struct agent *a)
{
	char text[HK_RUN_ID_DIGITS + 4] = "id ";
	const char *line;

	if (a->ranks.first == 0) {
		if (hk_run_make_id(text + 3))
			return false;
		tell(text);
	}
	line = next(a, '\n');
	if (!line || strncmp(line, "id ", 3) || strlen(line) != 3 + HK_RUN_ID_DIGITS)
		return false;
	memcpy(a->ranks.id, line + 3, sizeof(a->ranks.id));
	return true;
}

int hk_run_agent(void)
{
	static struct agent a; /* variables live in it */

	if (!read_description(&a)) {
		fprintf(stderr,
			"hocket run --agent: no description that this version understands came; it "
			"is for `hocket run --hosts`, of the same version on all hosts\n");
		return 2;
	}
	tell("started");
	if (hk_run_job_open(&a.job, a.ranks.n, &kind, &a.ranks))
		return HK_RUN_LAUNCH_ERROR;
	if (get_id(&a)) {
		a.job.commands = STDIN_FILENO;
		hk_run_ranks_start(&a.job, &a.ranks);
		obey(&a); /* what has come together with the id */
		hk_run_job_watch(&a.job);
	} else {
		a.job.status = HK_RUN_LAUNCH_ERROR;
	}
	hk_run_job_close(&a.job);
	free(a.ranks.program);
	return a.job.status;
}
