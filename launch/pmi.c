/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PMI-1, the wire protocol of MPICH's process managers: lines of KEY=VALUE words over a socket
 * whose descriptor is in PMI_FD, one question and one answer at a time. Spoken by MPICH's,
 * MVAPICH's and Intel's mpirun (hydra), and by Slurm's `srun --mpi=pmi2`. Process 0 puts the id, in
 * digits, into the job's key-value space; all meet in a barrier, and the others get it. A process
 * that ends without a goodbye has failed: then the launcher ends the others.
 *
 * The key-value space is the job's own: only its processes can ask their manager for it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch_internal.h"

#define LINE 1024 /* no answer is longer: keys of 64, values of at most 1024 by the protocol */
#define KEY  "hocket-id"

static bool pmi_here(void)
{
	return hk_launch_env("PMI_FD") && hk_launch_env("PMI_RANK") && hk_launch_env("PMI_SIZE");
}

static hocketResult_t lost(const char *why)
{
	return hk_launch_fail(hocketSystemError,
			      "the launcher's process manager, at PMI_FD=%s, %s; was this process "
			      "started by the launcher itself, without a program between that "
			      "closes descriptors?",
			      getenv("PMI_FD"), why);
}

static hocketResult_t send_line(int fd, const char *line)
{
	size_t left = strlen(line);

	while (left) {
		ssize_t n = send(fd, line, left, MSG_NOSIGNAL);

		if (n < 0 && errno == ENOTSOCK)
			n = write(fd, line, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lost("cannot be written to");
		line += n;
		left -= (size_t)n;
	}
	return hocketSuccess;
}

/* One line without its end. Byte by byte: what follows it is not ours to take. */
static hocketResult_t read_line(int fd, char line[LINE])
{
	double deadline = hk_launch_now_s() + hk_launch_timeout_s();

	for (size_t got = 0; got < LINE;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		double left = deadline - hk_launch_now_s();
		ssize_t n;

		if (left <= 0)
			return hk_launch_fail(hocketRemoteError,
					      "the launcher did not answer within %g s "
					      "(HOCKET_INIT_TIMEOUT_MS): have all its processes "
					      "started?",
					      hk_launch_timeout_s());
		if (poll(&p, 1, (int)(left * 1000) + 1) <= 0)
			continue;
		n = read(fd, line + got, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lost("has closed the connection");
		if (line[got] == '\n') {
			line[got] = 0;
			return hocketSuccess;
		}
		got++;
	}
	return lost("gives too long an answer");
}

/* The value of a word KEY=VALUE of the line, up to a space, or NULL. */
static const char *find_word(const char *line, const char *key, char *value, size_t size)
{
	size_t length = strlen(key);

	for (const char *at = line; (at = strstr(at, key)); at++) {
		size_t bytes = strcspn(at, " ");

		if ((at > line && at[-1] != ' ') || at[length] != '=' || bytes - length - 1 >= size)
			continue;
		memcpy(value, at + length + 1, bytes - length - 1);
		value[bytes - length - 1] = 0;
		return value;
	}
	return NULL;
}

/* Asks, and reads the answer, which must be of the given kind and, if it has a code, successful. */
static hocketResult_t ask(int fd, const char *question, const char *kind, char answer[LINE])
{
	hocketResult_t result = send_line(fd, question);
	char value[LINE];

	if (result == hocketSuccess)
		result = read_line(fd, answer);
	if (result != hocketSuccess)
		return result;
	if (!find_word(answer, "cmd", value, sizeof(value)) || strcmp(value, kind))
		return lost("gives another answer than PMI-1's");
	if (find_word(answer, "rc", value, sizeof(value)) && strcmp(value, "0"))
		return lost("refuses what PMI-1 allows");
	return hocketSuccess;
}

static hocketResult_t open_pmi(struct hocketLaunch *l)
{
	hocketResult_t result = hk_launch_place(l, "PMI_RANK", "PMI_SIZE");
	char answer[LINE];
	int fd;

	if (result == hocketSuccess)
		result = hk_launch_number("PMI_FD", &fd);
	if (result == hocketSuccess)
		result = ask(fd, "cmd=init pmi_version=1 pmi_subversion=1\n", "response_to_init",
			     answer);
	if (result == hocketSuccess)
		l->pmi_fd = fd;
	return result;
}

static hocketResult_t put(int fd, const char *space, const hocketUniqueId *id)
{
	char digits[HK_ID_DIGITS + 1], question[2 * LINE], answer[LINE];

	hk_launch_print_id(id, digits);
	snprintf(question, sizeof(question), "cmd=put kvsname=%s key=" KEY " value=%s\n", space,
		 digits);
	return ask(fd, question, "put_result", answer);
}

static hocketResult_t get(int fd, const char *space, hocketUniqueId *id)
{
	char digits[HK_ID_DIGITS + 1], question[2 * LINE], answer[LINE];
	hocketResult_t result;

	snprintf(question, sizeof(question), "cmd=get kvsname=%s key=" KEY "\n", space);
	result = ask(fd, question, "get_result", answer);
	if (result != hocketSuccess)
		return result;
	if (find_word(answer, "value", digits, sizeof(digits)) && hk_launch_parse_id(digits, id))
		return hocketSuccess;
	return hk_launch_fail(hocketRemoteError, "process 0 has left no id with the launcher");
}

static hocketResult_t share_pmi(struct hocketLaunch *l, hocketUniqueId *id)
{
	char answer[LINE], space[LINE];
	hocketResult_t result = ask(l->pmi_fd, "cmd=get_my_kvsname\n", "my_kvsname", answer);

	if (result == hocketSuccess && !find_word(answer, "kvsname", space, sizeof(space)))
		result = lost("names no key-value space");
	if (result == hocketSuccess && l->rank == 0)
		result = hk_launch_make_id(id);
	if (result == hocketSuccess && l->rank == 0)
		result = put(l->pmi_fd, space, id);
	if (result == hocketSuccess)
		result = ask(l->pmi_fd, "cmd=barrier_in\n", "barrier_out", answer);
	if (result == hocketSuccess && l->rank)
		result = get(l->pmi_fd, space, id);
	if (result != hocketSuccess)
		l->pmi_fd = -1; /* without a goodbye the launcher knows that this one has failed */
	return result;
}

static void goodbye(struct hocketLaunch *l)
{
	char answer[LINE];

	if (l->pmi_fd >= 0)
		ask(l->pmi_fd, "cmd=finalize\n", "finalize_ack", answer);
	/* The descriptor stays: in a shell under the launcher the next program needs it too. */
	l->pmi_fd = -1;
}

const struct hk_way hk_way_pmi = {
	.name = "pmi",
	.here = pmi_here,
	.open = open_pmi,
	.share = share_pmi,
	.close = goodbye,
};
