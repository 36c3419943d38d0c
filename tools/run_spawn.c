/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parent has threads (the id's root), so between fork and exec the child calls only what is
 * safe there: everything that allocates is prepared before the fork.
 */
#include "run_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Variables of a job around this one that would mislead a rank. */
static const char *const stale[] = {"HOCKET_ID_FILE=", "HOCKET_ID_ADDR=", "HOCKET_LAUNCH="};

static const char *const names[] = {"HOCKET_RANK=", "HOCKET_NRANKS=",	 "RANK=",     "WORLD_SIZE=",
				    "LOCAL_RANK=",  "LOCAL_WORLD_SIZE=", "HOCKET_ID="};

enum { NNAMES = sizeof(names) / sizeof(names[0]), NSTALE = sizeof(stale) / sizeof(stale[0]) };

static bool starts_with_any(const char *var, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
		if (!strncmp(var, list[i], strlen(list[i])))
			return true;
	return false;
}

char **hk_spawn_variables(const struct hk_place *place)
{
	const int values[] = {place->rank,   place->nranks, place->rank,
			      place->nranks, place->local,  place->nlocal};
	size_t inherited = 0, n = 0, text = NNAMES * 40 + strlen(place->id) + 1;
	char **vars, *own;

	while (environ[inherited])
		inherited++;
	vars = malloc((inherited + NNAMES + 1) * sizeof(char *) + text);
	if (!vars)
		return NULL;
	for (size_t i = 0; i < inherited; i++)
		if (!starts_with_any(environ[i], names, NNAMES) &&
		    !starts_with_any(environ[i], stale, NSTALE))
			vars[n++] = environ[i];
	own = (char *)(vars + inherited + NNAMES + 1);
	for (int i = 0; i < NNAMES; i++) {
		vars[n++] = own;
		own += (i < NNAMES - 1 ? sprintf(own, "%s%d", names[i], values[i])
				       : sprintf(own, "%s%s", names[i], place->id)) +
		       1;
	}
	vars[n] = NULL;
	return vars;
}

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void take_over(int fd, int as)
{
	if (fd == as)
		fcntl(fd, F_SETFD, 0);
	else if (fd >= 0)
		dup2(fd, as);
}

static void become(const struct hk_spawn *s, pid_t parent)
{
	sigset_t none;
	int null;

	/* Die with the launcher, also if it has died before this call. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	take_over(s->in >= 0 ? s->in : null, STDIN_FILENO);
	take_over(s->out, STDOUT_FILENO);
	take_over(s->err, STDERR_FILENO);
	if (s->cores)
		sched_setaffinity(0, sizeof(cpu_set_t), s->cores);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execvpe(s->program[0], s->program, s->variables);
	if (s->complains) {
		say("hocket run: cannot execute ");
		say(s->program[0]);
		say(errno == ENOENT ? ": there is no such program\n" : "\n");
	}
	_exit(127);
}

pid_t hk_spawn(const struct hk_spawn *s)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0)
		become(s, parent);
	/* Also here, so that the group exists before this process signals it. */
	if (pid > 0)
		setpgid(pid, pid);
	return pid;
}
