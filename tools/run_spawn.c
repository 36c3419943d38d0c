/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parent has threads (the id's root), so between fork and exec the child calls only what is
 * safe there: everything that allocates is prepared before the fork.
 */
#include "run_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { RANK, NRANKS, ID, WORLD_RANK, WORLD_SIZE, LOCAL_RANK, NVARS };

static const char *const names[NVARS] = {
	[RANK] = "HOCKET_RANK=", [NRANKS] = "HOCKET_NRANKS=",  [ID] = "HOCKET_ID=",
	[WORLD_RANK] = "RANK=",	 [WORLD_SIZE] = "WORLD_SIZE=", [LOCAL_RANK] = "LOCAL_RANK=",
};

struct environment {
	char **vars; /* ended by NULL */
	char own[NVARS][32 + 2 * HOCKET_UNIQUE_ID_BYTES];
};

static bool is_ours(const char *var)
{
	for (int i = 0; i < NVARS; i++)
		if (!strncmp(var, names[i], strlen(names[i])))
			return true;
	return !strncmp(var, "HOCKET_ID_FILE=", 15);
}

static void write_own(const struct hk_spawn *s, int rank, struct environment *env)
{
	int values[NVARS] = {[RANK] = rank,
			     [NRANKS] = s->nranks,
			     [WORLD_RANK] = rank,
			     [WORLD_SIZE] = s->nranks,
			     [LOCAL_RANK] = rank};

	for (int i = 0; i < NVARS; i++) {
		char *text = env->own[i];

		if (i != ID) {
			snprintf(text, sizeof(env->own[i]), "%s%d", names[i], values[i]);
			continue;
		}
		text += sprintf(text, "%s", names[i]);
		for (int b = 0; b < HOCKET_UNIQUE_ID_BYTES; b++)
			text += sprintf(text, "%02x", (unsigned char)s->id->internal[b]);
	}
}

static struct environment *make_environment(const struct hk_spawn *s, int rank)
{
	struct environment *env = malloc(sizeof(*env));
	size_t inherited = 0, n = 0;

	if (!env)
		return NULL;
	while (environ[inherited])
		inherited++;
	env->vars = calloc(inherited + NVARS + 1, sizeof(char *));
	if (!env->vars) {
		free(env);
		return NULL;
	}
	for (size_t i = 0; i < inherited; i++)
		if (!is_ours(environ[i]))
			env->vars[n++] = environ[i];
	write_own(s, rank, env);
	for (int i = 0; i < NVARS; i++)
		env->vars[n++] = env->own[i];
	return env;
}

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void become(const struct hk_spawn *s, int rank, pid_t parent, char **vars)
{
	sigset_t none;
	int null;

	/* Die with the launcher, also if it has died before this call. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	null = open("/dev/null", O_RDONLY);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	if (null > STDIN_FILENO)
		close(null);
	if (s->cores)
		sched_setaffinity(0, sizeof(cpu_set_t), &s->cores[rank]);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvpe(s->program[0], s->program, vars);
	if (rank == 0) {
		say("hocket run: cannot execute ");
		say(s->program[0]);
		say(errno == ENOENT ? ": there is no such program\n" : "\n");
	}
	_exit(127);
}

pid_t hk_spawn_rank(const struct hk_spawn *s, int rank)
{
	struct environment *env = make_environment(s, rank);
	pid_t parent = getpid(), pid;

	if (!env) {
		errno = ENOMEM;
		return -1;
	}
	pid = fork();
	if (pid == 0)
		become(s, rank, parent, env->vars);
	/* Also here, so that the group exists before this process signals it. */
	if (pid > 0)
		setpgid(pid, pid);
	free(env->vars);
	free(env);
	return pid;
}
