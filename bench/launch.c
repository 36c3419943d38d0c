/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the launcher's environment. First match wins, most specific first:
 *
 *   hocket run   HOCKET_RANK, HOCKET_NRANKS, and the id as hexadecimal digits in HOCKET_ID.
 *   by hand      HOCKET_RANK, HOCKET_NRANKS, and HOCKET_ID_FILE: a path on a file system that all
 *                processes see. Process 0 writes the id there (the file must not exist) and removes
 *                it at the end.
 *   torchrun     RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. Process 0 hands the id over at
 *                HOCKET_ID_PORT, by default MASTER_PORT + 1, as torchrun itself listens on
 *                MASTER_PORT. Whoever can connect there while it lasts can read the id: it trusts
 *                that network as torchrun's own store does.
 *   mpirun       OMPI_COMM_WORLD_SIZE, PMI_SIZE or PMIX_RANK; the id is broadcast by MPI, which is
 *                not initialised otherwise.
 *   alone        none of these: one process.
 *
 * The id must arrive within HOCKET_INIT_TIMEOUT_MS, as the communicator that is made with it must.
 * This is the benchmarks' only reader of the environment.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch_tcp.h"

#ifdef HOCKET_BENCH_MPI
#include <mpi.h>
#endif

/* A non-negative number from the environment, or -1 with a message. */
static int number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long v;

	if (!text || !*text) {
		fprintf(stderr, "%s is not set, though the launcher's other variables are\n", name);
		return -1;
	}
	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || *end || v < 0 || v > 1 << 20) {
		fprintf(stderr, "%s=%s is not a number of processes or a rank\n", name, text);
		return -1;
	}
	return (int)v;
}

/* How long the id may take, in seconds. What is no number is as good as not set here: the library
 * reads the same variable and complains. */
static double init_timeout_s(void)
{
	const char *text = getenv("HOCKET_INIT_TIMEOUT_MS");
	char *end = NULL;
	long ms = text && *text ? strtol(text, &end, 0) : 0;

	return ms < 1 || ms > 86400000 || *end ? 60 : (double)ms / 1000;
}

static int read_place(const char *rank, const char *size, struct hk_launch *l)
{
	l->rank = number(rank);
	l->nprocs = number(size);
	if (l->rank < 0 || l->nprocs < 0)
		return -1;
	if (l->rank < l->nprocs)
		return 0;
	fprintf(stderr, "%s=%d is not below %s=%d\n", rank, l->rank, size, l->nprocs);
	return -1;
}

static bool started_by_mpi(void)
{
	return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMIX_RANK");
}

#ifdef HOCKET_BENCH_MPI
static int open_mpi(int *argc, char ***argv, struct hk_launch *l)
{
	int provided;

	/* Threads that hold ranks of their own do not call MPI. */
	if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
		return -1;
	MPI_Comm_rank(MPI_COMM_WORLD, &l->rank);
	MPI_Comm_size(MPI_COMM_WORLD, &l->nprocs);
	return 0;
}
#else
static int open_mpi(int *argc, char ***argv, struct hk_launch *l)
{
	fprintf(stderr, "started by an MPI launcher, but built without MPI: use `hocket run -n N "
			"PROGRAM`, or install MPI's development files and build again\n");
	return -1;
}
#endif

/* Half of torchrun's variables are a mistake that would otherwise show as many groups of one. */
static void warn_if_incomplete(void)
{
	const char *size = getenv("WORLD_SIZE");

	if (!getenv("RANK") || !size || strtol(size, NULL, 10) <= 1)
		return;
	fprintf(stderr, "RANK and WORLD_SIZE are set but %s is not; running alone\n",
		getenv("MASTER_ADDR") ? "MASTER_PORT" : "MASTER_ADDR");
}

int hk_launch_open(int *argc, char ***argv, struct hk_launch *l)
{
	*l = (struct hk_launch){HK_LAUNCH_ALONE, 0, 1};
	if (getenv("HOCKET_RANK")) {
		l->how = getenv("HOCKET_ID") ? HK_LAUNCH_HOCKET : HK_LAUNCH_BY_HAND;
		return read_place("HOCKET_RANK", "HOCKET_NRANKS", l);
	}
	if (getenv("RANK") && getenv("WORLD_SIZE") && getenv("MASTER_ADDR") &&
	    getenv("MASTER_PORT")) {
		l->how = HK_LAUNCH_TORCHRUN;
		return read_place("RANK", "WORLD_SIZE", l);
	}
	if (started_by_mpi()) {
		l->how = HK_LAUNCH_MPI;
		return open_mpi(argc, argv, l);
	}
	warn_if_incomplete();
	return 0;
}

static int make_id(hocketUniqueId *id)
{
	hocketResult_t res = hocketGetUniqueId(id);

	if (res == hocketSuccess)
		return 0;
	fprintf(stderr, "hocketGetUniqueId: %s: %s\n", hocketGetErrorString(res),
		hocketGetLastError(NULL));
	return -1;
}

static int parse_hex(const char *hex, hocketUniqueId *id)
{
	if (strlen(hex) == 2 * sizeof(id->internal) &&
	    strspn(hex, "0123456789abcdefABCDEF") == 2 * sizeof(id->internal)) {
		for (size_t i = 0; i < sizeof(id->internal); i++) {
			char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};

			id->internal[i] = (char)strtoul(digits, NULL, 16);
		}
		return 0;
	}
	fprintf(stderr, "HOCKET_ID is not %zu hexadecimal digits\n", 2 * sizeof(id->internal));
	return -1;
}

/* The file appears under its name only when it is complete: readers never see a part of it. */
static int write_id_file(const char *path, const hocketUniqueId *id)
{
	char temporary[4096];
	int fd, err = 0;

	snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid());
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, id, sizeof(*id)) != (ssize_t)sizeof(*id) || link(temporary, path))
		err = errno;
	if (fd >= 0) {
		close(fd);
		unlink(temporary);
	}
	if (!err)
		return 0;
	fprintf(stderr, "cannot write the id to HOCKET_ID_FILE=%s: %s%s\n", path, strerror(err),
		err == EEXIST ? "; remove what an earlier run has left" : "");
	return -1;
}

static int read_id_file(const char *path, hocketUniqueId *id)
{
	double timeout_s = init_timeout_s(), every_s = fmin(timeout_s, 0.01);

	for (double waited_s = 0; waited_s < timeout_s; waited_s += every_s) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			ssize_t got = read(fd, id, sizeof(*id));

			close(fd);
			if (got == (ssize_t)sizeof(*id))
				return 0;
		}
		usleep((useconds_t)(every_s * 1e6));
	}
	fprintf(stderr,
		"no id came in HOCKET_ID_FILE=%s within %g s (HOCKET_INIT_TIMEOUT_MS): is process "
		"0 running?\n",
		path, timeout_s);
	return -1;
}

static int share_by_file(const struct hk_launch *l, hocketUniqueId *id)
{
	const char *path = getenv("HOCKET_ID_FILE");

	if (!path) {
		fprintf(stderr, "HOCKET_RANK is set, but neither HOCKET_ID nor HOCKET_ID_FILE\n");
		return -1;
	}
	if (l->rank)
		return read_id_file(path, id);
	return make_id(id) ? -1 : write_id_file(path, id);
}

static int share_by_tcp(const struct hk_launch *l, hocketUniqueId *id)
{
	const char *host = getenv("MASTER_ADDR"), *port = getenv("HOCKET_ID_PORT");
	char next[24];

	if (!port) {
		snprintf(next, sizeof(next), "%ld", strtol(getenv("MASTER_PORT"), NULL, 10) + 1);
		port = next;
	}
	if (l->rank)
		return hk_launch_tcp_fetch(host, port, l->rank, init_timeout_s(), id);
	return make_id(id) ? -1 : hk_launch_tcp_serve(host, port, l->nprocs, init_timeout_s(), id);
}

int hk_launch_share_id(const struct hk_launch *l, hocketUniqueId *id)
{
	switch (l->how) {
	case HK_LAUNCH_HOCKET:
		return parse_hex(getenv("HOCKET_ID"), id);
	case HK_LAUNCH_BY_HAND:
		return share_by_file(l, id);
	case HK_LAUNCH_TORCHRUN:
		return share_by_tcp(l, id);
	case HK_LAUNCH_MPI: {
		int failed = l->rank == 0 ? make_id(id) : 0;

#ifdef HOCKET_BENCH_MPI
		MPI_Bcast(&failed, 1, MPI_INT, 0, MPI_COMM_WORLD);
		MPI_Bcast(id, sizeof(*id), MPI_BYTE, 0, MPI_COMM_WORLD);
#endif
		return failed;
	}
	default:
		return make_id(id);
	}
}

void hk_launch_close(const struct hk_launch *l)
{
	const char *path = getenv("HOCKET_ID_FILE");

	if (l->how == HK_LAUNCH_BY_HAND && l->rank == 0 && path)
		unlink(path);
#ifdef HOCKET_BENCH_MPI
	if (l->how == HK_LAUNCH_MPI)
		MPI_Finalize();
#endif
}

const char *hk_launch_name(enum hk_launcher how)
{
	static const char *const names[] = {
		[HK_LAUNCH_ALONE] = "alone",	     [HK_LAUNCH_HOCKET] = "hocket run",
		[HK_LAUNCH_BY_HAND] = "HOCKET_RANK", [HK_LAUNCH_TORCHRUN] = "torchrun",
		[HK_LAUNCH_MPI] = "mpirun",
	};

	return names[how];
}
