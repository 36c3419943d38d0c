/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ways to be launched, one `struct hk_way` each, and what they share. A way is told from the
 * environment by `here`; `open` finds the place, `share` hands the id round, `close` takes leave.
 * Way by way:
 *
 *   launch.c  the list and the public entry points
 *   place.c   numbers and places from the environment
 *   file.c    hocket run (HOCKET_ID), and by hand: a file that all processes see
 *   tcp.c     an address that process 0 serves: by hand (HOCKET_ID_ADDR), torchrun
 *   pmi.c     PMI-1, which MPICH's mpirun and its kin speak, and Slurm's `--mpi=pmi2`
 *   pmix.c    PMIx, which Open MPI's mpirun speaks, and Slurm's `--mpi=pmix`
 *   mpi.c     MPI itself, where neither is to be had: opens the module made of mpi_module.c
 */
#ifndef HOCKET_LAUNCH_INTERNAL_H
#define HOCKET_LAUNCH_INTERNAL_H

#include <hocket/launch.h>
#include <stdbool.h>
#include <stddef.h>

#define HK_ID_DIGITS (2 * HOCKET_UNIQUE_ID_BYTES)

struct hk_mpi;

struct hocketLaunch {
	const struct hk_way *way;
	int rank, nranks;
	bool shared;	/* the id has been handed round */
	char *own_file; /* what this process has written, and removes at the end */
	int pmi_fd;	/* -1: closed */
	const struct hk_mpi *mpi;
};

struct hk_way {
	const char *name; /* in HOCKET_LAUNCH */
	bool (*here)(void);
	hocketResult_t (*open)(struct hocketLaunch *l);
	hocketResult_t (*share)(struct hocketLaunch *l, hocketUniqueId *id);
	void (*close)(struct hocketLaunch *l);
};

extern const struct hk_way hk_way_hocket, hk_way_hand, hk_way_torchrun, hk_way_pmi, hk_way_pmix,
	hk_way_mpi;

/* --- launch.c --- */

/* Keeps the sentence for hocketLaunchGetLastError; returns result. */
hocketResult_t hk_launch_fail(hocketResult_t result, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
hocketResult_t hk_launch_make_id(hocketUniqueId *id);
/* The id as HK_ID_DIGITS hexadecimal digits and a 0, and back; false: these are not its digits. */
void hk_launch_print_id(const hocketUniqueId *id, char text[HK_ID_DIGITS + 1]);
bool hk_launch_parse_id(const char *text, hocketUniqueId *id);
/* A default for `close`. */
void hk_launch_close_nothing(struct hocketLaunch *l);

/* --- place.c --- */

/* The variable's text; NULL if it is unset or empty. */
const char *hk_launch_env(const char *name);
hocketResult_t hk_launch_number(const char *name, int *value);
/* Reads l->rank and l->nranks from two variables. */
hocketResult_t hk_launch_place(struct hocketLaunch *l, const char *rank, const char *nranks);
/* The same from the first launcher's pair that is there. */
hocketResult_t hk_launch_any_place(struct hocketLaunch *l);
/* The number on this host, -1 if no variable says it. */
int hk_launch_local_rank(void);
/* HOCKET_INIT_TIMEOUT_MS in seconds; the default if that is no number, which the library, the
 * variable's other reader, complains of. */
double hk_launch_timeout_s(void);
double hk_launch_now_s(void);

/* --- tcp.c --- */

/* Process 0 serves *id at host:port until all others have it; the others fetch it. */
hocketResult_t hk_launch_share_at(const struct hocketLaunch *l, const char *host, const char *port,
				  hocketUniqueId *id);
/* HOCKET_ID_ADDR: host:port, [host]:port for IPv6. */
hocketResult_t hk_launch_share_at_address(const struct hocketLaunch *l, const char *address,
					  hocketUniqueId *id);

#endif
