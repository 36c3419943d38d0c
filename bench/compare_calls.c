/* SPDX-License-Identifier: BSD-3-Clause */
/* A function for each collective of the table that MPI has; see compare_calls.h. */
#include "compare_calls.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

int hk_mpi_open(struct hk_mpi_counts *m, int nranks)
{
	size_t n = (size_t)nranks;

	*m = (struct hk_mpi_counts){calloc(n, sizeof(size_t)), calloc(n, sizeof(size_t)),
				    calloc(n, sizeof(int)),    calloc(n, sizeof(int)),
				    calloc(n, sizeof(int)),    calloc(n, sizeof(int))};
	return m->send_counts && m->recv_counts && m->send && m->recv && m->send_at && m->recv_at
		       ? 0
		       : -1;
}

void hk_mpi_close(struct hk_mpi_counts *m)
{
	free(m->send_counts);
	free(m->recv_counts);
	free(m->send);
	free(m->recv);
	free(m->send_at);
	free(m->recv_at);
}

void hk_mpi_prepare(struct hk_mpi_counts *m, const struct hk_perf_shape *s, int nranks)
{
	int send = 0, recv = 0;

	for (int r = 0; r < nranks; r++) {
		m->send[r] = (int)s->counts[r];
		m->recv[r] = (int)s->recv_counts[r];
		m->send_at[r] = send;
		m->recv_at[r] = recv;
		send += m->send[r];
		recv += m->recv[r];
	}
}

typedef void mpi_call(const struct hk_perf_call *c, const struct hk_mpi_counts *m);

static int count(const struct hk_perf_call *c)
{
	return (int)c->shape->count;
}

static void all_reduce(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Allreduce(c->send, c->recv, count(c), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void reduce_scatter(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Reduce_scatter_block(c->send, c->recv, count(c), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void all_gather(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Allgather(c->send, count(c), MPI_FLOAT, c->recv, count(c), MPI_FLOAT, MPI_COMM_WORLD);
}

/* MPI has it in place only, so it is compared in place. */
static void broadcast(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Bcast(c->recv, count(c), MPI_FLOAT, c->who.root, MPI_COMM_WORLD);
}

static void reduce(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Reduce(c->send, c->recv, count(c), MPI_FLOAT, MPI_SUM, c->who.root, MPI_COMM_WORLD);
}

static void all_to_all(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Alltoall(c->send, count(c), MPI_FLOAT, c->recv, count(c), MPI_FLOAT, MPI_COMM_WORLD);
}

static void gather(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Gather(c->send, count(c), MPI_FLOAT, c->recv, count(c), MPI_FLOAT, c->who.root,
		   MPI_COMM_WORLD);
}

static void scatter(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Scatter(c->send, count(c), MPI_FLOAT, c->recv, count(c), MPI_FLOAT, c->who.root,
		    MPI_COMM_WORLD);
}

static void barrier(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Barrier(MPI_COMM_WORLD);
}

static void all_gather_v(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Allgatherv(c->send, count(c), MPI_FLOAT, c->recv, m->send, m->send_at, MPI_FLOAT,
		       MPI_COMM_WORLD);
}

static void reduce_scatter_v(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Reduce_scatter(c->send, c->recv, m->send, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void all_to_all_v(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Alltoallv(c->send, m->send, m->send_at, MPI_FLOAT, c->recv, m->recv, m->recv_at,
		      MPI_FLOAT, MPI_COMM_WORLD);
}

static void gather_v(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Gatherv(c->send, count(c), MPI_FLOAT, c->recv, m->send, m->send_at, MPI_FLOAT,
		    c->who.root, MPI_COMM_WORLD);
}

static void scatter_v(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	MPI_Scatterv(c->send, m->send, m->send_at, MPI_FLOAT, c->recv, count(c), MPI_FLOAT,
		     c->who.root, MPI_COMM_WORLD);
}

static void sendrecv(const struct hk_perf_call *c, const struct hk_mpi_counts *m)
{
	int n = c->who.nranks, next = (c->who.rank + 1) % n, prev = (c->who.rank + n - 1) % n;

	MPI_Sendrecv(c->send, count(c), MPI_FLOAT, next, 0, c->recv, count(c), MPI_FLOAT, prev, 0,
		     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static const struct {
	const char *name;
	mpi_call *call;
} calls[] = {
	{"all_reduce", all_reduce},
	{"reduce_scatter", reduce_scatter},
	{"all_gather", all_gather},
	{"broadcast", broadcast},
	{"reduce", reduce},
	{"alltoall", all_to_all},
	{"gather", gather},
	{"scatter", scatter},
	{"barrier", barrier},
	{"all_gather_v", all_gather_v},
	{"reduce_scatter_v", reduce_scatter_v},
	{"alltoall_v", all_to_all_v},
	{"gather_v", gather_v},
	{"scatter_v", scatter_v},
	{"sendrecv", sendrecv},
};

static mpi_call *find(const struct hk_perf_collective *coll)
{
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (!strcmp(calls[i].name, coll->name))
			return calls[i].call;
	return NULL;
}

bool hk_mpi_has(const struct hk_perf_collective *coll)
{
	return find(coll) != NULL;
}

void hk_mpi_call(const struct hk_perf_collective *coll, const struct hk_perf_call *c,
		 const struct hk_mpi_counts *m)
{
	static const struct hk_perf_collective *known;
	static mpi_call *call;

	if (coll != known) {
		call = find(coll);
		known = coll;
	}
	call(c, m);
}
