/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The launcher's end of `hocket run --hosts`; run_remote.h has the protocol. The children of the
 * job are the connections. Their standard inputs are pipes into which the whole description fits,
 * so that writing it never waits, not even for an ssh that waits for its network.
 */
#include "run_remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "run_output.h"
#include "run_spawn.h"

#define SSH_FAILED 255

struct connection {
	const struct hk_run_host *host;
	int in; /* what the agent reads; -1: closed */
	bool started;
};

struct hosts_job {
	struct hk_run_job job; /* first: found from it */
	const struct hk_run_remote *remote;
	struct connection *connections;
};

/* --- the description --- */

struct fields {
	char text[HK_RUN_MOST_BYTES];
	size_t used;
	bool full;
};

static void append(struct fields *f, const char *text, size_t bytes)
{
	if (f->used + bytes > sizeof(f->text)) {
		f->full = true;
		return;
	}
	memcpy(f->text + f->used, text, bytes);
	f->used += bytes;
}

static void add(struct fields *f, const char *text)
{
	append(f, text, strlen(text) + 1);
}

static void add_number(struct fields *f, int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	add(f, text);
}

/* Variables of the library, and those asked for; the place is the agent's to say. */
static bool travels(const char *var)
{
	static const char *const own[] = {"HOCKET_RANK=", "HOCKET_NRANKS=", "HOCKET_ID"};

	for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (!strncmp(var, own[i], strlen(own[i])))
			return false;
	return !strncmp(var, "HOCKET_", 7);
}

/* Those of this process that travel, and the named ones that are set; returns how many. */
static int list_variables(struct fields *f, char *const *names)
{
	int n = 0;

	for (char **v = environ; *v; v++)
		if (travels(*v) && ++n)
			add(f, *v);
	for (; *names; names++) {
		const char *value = strchr(*names, '=') ? "" : getenv(*names);

		if (!value)
			continue;
		append(f, *names, strlen(*names));
		if (!strchr(*names, '='))
			append(f, "=", 1);
		add(f, value);
		n++;
	}
	return n;
}

/* Their number comes first, so they are listed aside. */
static void add_variables(struct fields *f, char *const *names)
{
	struct fields *list = calloc(1, sizeof(*list));

	if (list) {
		add_number(f, list_variables(list, names));
		append(f, list->text, list->used);
	}
	f->full |= !list || list->full;
	free(list);
}

static void describe(const struct hk_run_remote *r, const struct hk_run_host *host,
		     struct fields *f)
{
	char folder[4096];
	int n = 0;

	f->used = 0;
	f->full = false;
	add(f, HK_RUN_WIRE);
	add(f, host->name);
	add_number(f, host->first);
	add_number(f, host->n);
	add_number(f, r->ranks.nranks);
	add_number(f, (int)r->ranks.bind);
	add_number(f, r->ranks.prefix);
	add(f, getcwd(folder, sizeof(folder)) ? folder : "/");
	add_variables(f, r->names);
	while (r->ranks.program[n])
		n++;
	add_number(f, n);
	for (int i = 0; i < n; i++)
		add(f, r->ranks.program[i]);
	add(f, "end");
}

/* --- what the agents tell, and what they are told --- */

static struct hosts_job *of_job(struct hk_run_job *job)
{
	return (struct hosts_job *)job;
}

/* A host that does not listen is noticed by the end of its connection. */
static void tell(struct connection *c, const char *text)
{
	if (c->in >= 0 && write(c->in, text, strlen(text)) < 0) {
		close(c->in);
		c->in = -1;
	}
}

static void told(void *to, int child, const char *text)
{
	struct hosts_job *h = to;
	char command[HK_RUN_ID_DIGITS + 16];

	if (!strcmp(text, "started")) {
		h->connections[child].started = true;
	} else if (!strncmp(text, "failed ", 7)) {
		hk_run_job_fail(&h->job, atoi(text + 7));
	} else if (!strncmp(text, "id ", 3) && strlen(text) == 3 + HK_RUN_ID_DIGITS) {
		snprintf(command, sizeof(command), "%s\n", text);
		for (int i = 0; i < h->job.n; i++)
			tell(&h->connections[i], command);
	}
}

/* The last word is the end of its input; whom that does not reach loses the connection. */
static void signal_host(struct hk_run_job *job, int child, int sig)
{
	struct connection *c = &of_job(job)->connections[child];
	char command[32];

	if (sig != SIGKILL) {
		snprintf(command, sizeof(command), "signal %d\n", sig);
		tell(c, command);
	} else if (c->in >= 0) {
		close(c->in);
		c->in = -1;
	} else {
		kill(-job->pids[child], SIGKILL);
	}
}

static int host_ended(struct hk_run_job *job, int child, const siginfo_t *end)
{
	const struct connection *c = &of_job(job)->connections[child];
	const struct hk_run_remote *r = of_job(job)->remote;
	bool exited = end->si_code == CLD_EXITED;

	if (exited && c->started && end->si_status != SSH_FAILED)
		return end->si_status; /* the agent has said why */
	if (c->started) {
		fprintf(stderr, "hocket run: the connection to %s was lost (%s %d)\n",
			c->host->name, exited ? "status" : "signal", end->si_status);
		return HK_RUN_LAUNCH_ERROR;
	}
	fprintf(stderr,
		"hocket run: nothing was started on %s: `%s %s` ended with %s %d. Does that "
		"command "
		"with `true` after it work without a password, and is %s there? (--ssh, "
		"--remote-hocket)\n",
		c->host->name, r->ssh, c->host->name, exited ? "status" : "signal", end->si_status,
		r->hocket);
	return HK_RUN_LAUNCH_ERROR;
}

static const struct hk_run_kind kind_hosts = {
	.noun = "host",
	.signal = signal_host,
	.ended = host_ended,
};

/* --- connecting --- */

/* This host by a name that it gives itself needs no ssh. */
static bool is_here(const char *name)
{
	char own[256];
	size_t length;

	if (!strcmp(name, "localhost"))
		return true;
	if (gethostname(own, sizeof(own)))
		return false;
	own[sizeof(own) - 1] = 0;
	length = strcspn(own, ".");
	return !strcmp(name, own) || (strlen(name) == length && !strncmp(name, own, length));
}

/* The remote shell's words: 'PATH' run --agent. */
static void quote(const char *path, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "exec '");

	for (; *path && n + 24 < size; path++)
		n += (size_t)snprintf(out + n, size - n, *path == '\'' ? "'\\''" : "%c", *path);
	snprintf(out + n, size - n, "' run --agent");
}

/* Starts one, with pipes to its three streams. */
static pid_t connect_to(struct hosts_job *h, int child)
{
	const struct hk_run_remote *r = h->remote;
	struct connection *c = &h->connections[child];
	char command[4096], line[4096];
	const char *here[] = {r->self, "run", "--agent", NULL};
	const char *there[] = {"/bin/sh", "-c", line, "hocket-run", c->host->name, command, NULL};
	int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
	const char **program = is_here(c->host->name) ? here : there;
	/* exec takes words that it does not change as words that may be changed */
	struct hk_spawn s = {(char *const *)(uintptr_t)program, environ, .complains = true};
	pid_t pid = -1;
	int saved;

	quote(r->hocket, command, sizeof(command));
	snprintf(line, sizeof(line), "exec %s \"$@\"", r->ssh);
	if (!pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC) && !pipe2(err, O_CLOEXEC)) {
		s.in = in[0];
		s.out = out[1];
		s.err = err[1];
		pid = hk_spawn(&s);
	}
	saved = errno;
	close(in[0]);
	close(out[1]);
	close(err[1]);
	c->in = in[1];
	if (pid > 0 && (hk_run_output_add(h->job.output, child, out[0], STDOUT_FILENO, "") ||
			hk_run_output_add(h->job.output, child, err[0], STDERR_FILENO, "")))
		fprintf(stderr, "hocket run: no memory for what %s prints\n", c->host->name);
	errno = saved;
	return pid;
}

static void start_hosts(struct hosts_job *h)
{
	struct fields *f = malloc(sizeof(*f));
	int child = 0;

	for (int i = 0; f && i < h->remote->hosts->n && !h->job.failed; i++) {
		const struct hk_run_host *host = &h->remote->hosts->list[i];
		struct connection *c = &h->connections[child];

		if (!host->n)
			continue;
		c->host = host;
		describe(h->remote, host, f);
		if (f->full) {
			fprintf(stderr,
				"hocket run: the program's arguments and the variables for %s take "
				"more than %d bytes\n",
				host->name, HK_RUN_MOST_BYTES);
			hk_run_job_fail(&h->job, HK_RUN_LAUNCH_ERROR);
			break;
		}
		hk_run_job_started(&h->job, child, connect_to(h, child));
		if (c->in >= 0 && write(c->in, f->text, f->used) != (ssize_t)f->used) {
			close(c->in);
			c->in = -1;
		}
		child++;
	}
	free(f);
}

/* Three pipes a host, where a shell's limit is often 1024. */
static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit); /* if not, the first pipe too many is an error */
}

int hk_run_remote(const struct hk_run_remote *r)
{
	struct hosts_job h = {.remote = r};
	int n = r->hosts->n, status;

	if (hk_run_job_open(&h.job, n, &kind_hosts, NULL))
		return HK_RUN_LAUNCH_ERROR;
	allow_many_files();
	h.connections = calloc((size_t)n, sizeof(*h.connections));
	h.job.output = hk_run_output_open(told, &h);
	if (h.connections && h.job.output) {
		for (int i = 0; i < n; i++)
			h.connections[i].in = -1;
		hk_run_job_time_limit(&h.job, r->timeout_s);
		start_hosts(&h);
		hk_run_job_watch(&h.job);
		for (int i = 0; i < n; i++)
			if (h.connections[i].in >= 0)
				close(h.connections[i].in);
	} else {
		h.job.status = HK_RUN_LAUNCH_ERROR;
	}
	hk_run_job_close(&h.job);
	status = h.job.status;
	free(h.connections);
	return status;
}
