/* SPDX-License-Identifier: BSD-3-Clause */
/* MPI's counterparts of the collectives in the table, for compare_mpi. */
#ifndef HOCKET_BENCH_COMPARE_CALLS_H
#define HOCKET_BENCH_COMPARE_CALLS_H

#include "perf.h"

/* A shape's counts, and the same as MPI takes them. */
struct hk_mpi_counts {
	size_t *send_counts, *recv_counts;
	int *send, *recv, *send_at, *recv_at;
};

/* 0 or -1 if there is no memory. */
int hk_mpi_open(struct hk_mpi_counts *m, int nranks);
void hk_mpi_close(struct hk_mpi_counts *m);
/* After the shape has been made. */
void hk_mpi_prepare(struct hk_mpi_counts *m, const struct hk_perf_shape *s, int nranks);

bool hk_mpi_has(const struct hk_perf_collective *coll);
/* Float, sum, blocking. */
void hk_mpi_call(const struct hk_perf_collective *coll, const struct hk_perf_call *c,
		 const struct hk_mpi_counts *m);

#endif
