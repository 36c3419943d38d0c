/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Communicators whose ranks have GPUs. Such a rank's calls are queued on CUDA streams and run by
 * kernels (exec/gpu_exec.h); the rest of the communicator, from the bootstrap to the choice of
 * algorithms and the plans, is the same. Ranks with and without a GPU can be in one communicator:
 * each has its own executor, and their messages meet in a transport of the host.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"

/* What the ranks tell each other before anything is sized. */
struct gpu_record {
	int32_t device, unused;
	uint64_t id;
};

static int guard_failed(struct hk_gpu_guard *g)
{
	struct hk_comm *c = ((struct hk_comm_guard *)g)->comm;
	int err = atomic_load_explicit(&c->failed, memory_order_acquire);

	return err ? err : c->watch.watch.failed(&c->watch.watch);
}

static void guard_fail(struct hk_gpu_guard *g, int err)
{
	hk_comm_fail(((struct hk_comm_guard *)g)->comm, err);
}

int hk_comm_open_gpu(struct hk_comm *c)
{
	struct gpu_record *all;
	int err;

	if (c->config.fabric_ranks) /* with switches, which have none */
		return 0;
	all = calloc((size_t)c->nranks, sizeof(*all));
	err = all ? 0 : hk_fail(ENOMEM, "no memory for the GPUs of %d ranks", c->nranks);

	if (!err && c->config.device >= 0)
		err = hk_gpu_exec_open(c->config.device, &c->gpu);
	if (!err) {
		all[c->rank].device = c->gpu ? hk_gpu_exec_device(c->gpu) : -1;
		all[c->rank].id = c->gpu ? hk_gpu_exec_id(c->gpu) : 0;
		err = hk_boot_allgather(c->boot, all, sizeof(*all));
	}
	for (int i = 0; !err && i < c->nranks; i++) {
		c->ngpu_ranks += all[i].device >= 0;
		c->gpu_sharers += c->gpu && all[i].device >= 0 && all[i].id == all[c->rank].id &&
				  hk_boot_host(c->boot, i) == hk_boot_host(c->boot, c->rank);
	}
	free(all);
	/* Rings for kernels do not stretch. */
	c->binder.binder.stretch = c->ngpu_ranks ? 1 : 0;
	return err;
}

/* Peers whose messages the host moves over this endpoint, if all are talked to. */
static size_t hosts_peers(const struct hk_comm *c, unsigned endpoint)
{
	size_t n = 0;

	for (int i = 0; i < c->nranks; i++)
		n += i != c->rank && c->via[i] == endpoint &&
		     c->endpoints[endpoint]->transport->ring_send == hk_ring_send_none;
	return n;
}

/* Memory for those messages, as later the driver may wait for kernels: pinned, and of the GPU where
 * an endpoint sends from there. For all the channels that calls may come to use. */
static int reserve(struct hk_comm *c)
{
	uint32_t slots = c->config.slots, slot_bytes = c->config.slot_bytes;
	size_t channels = c->config.channels ? 2 * c->config.channels + 1 : HK_P2P_CHANNEL + 1;
	size_t halves = 0;

	for (unsigned i = 0; i < c->nendpoints; i++) {
		size_t peers = c->endpoints[i] ? hosts_peers(c, i) : 0;

		halves += 2 * peers * channels;
		if (peers)
			hk_gpu_exec_admit(c->gpu, c->endpoints[i], peers * channels, slots,
					  slot_bytes);
	}
	return hk_gpu_exec_reserve(c->gpu, halves, slots, slot_bytes);
}

int hk_comm_start_gpu(struct hk_comm *c)
{
	int err;

	if (!c->gpu)
		return 0;
	err = reserve(c);
	if (err)
		return err;
	c->guard = (struct hk_comm_guard){{guard_failed, guard_fail}, c};
	return hk_gpu_exec_start(c->gpu, c->rank, c->nranks, HK_MAX_CHANNELS, c->gpu_sharers,
				 c->config.timeout_ns, &c->guard.guard);
}

/* A transport may reach in one direction only (GPUs, containers); of two choices the later in the
 * list is the one that both ends can use. */
int hk_comm_agree_ways(struct hk_comm *c)
{
	size_t n = (size_t)c->nranks;
	uint8_t *all;
	int err;

	if (!c->ngpu_ranks)
		return 0;
	all = calloc(n, n);
	if (!all)
		return hk_fail(ENOMEM, "no memory for the ways between %zu ranks", n);
	memcpy(all + (size_t)c->rank * n, c->via, n);
	err = hk_boot_allgather(c->boot, all, n);
	for (size_t i = 0; !err && i < n; i++) {
		uint8_t theirs = all[i * n + (size_t)c->rank];

		if (theirs > c->via[i] && theirs < c->nendpoints && c->endpoints[theirs])
			c->via[i] = theirs;
	}
	free(all);
	return err;
}

/* The cost model runs a rank's steps one after the other, as a processor does, and so sees no use
 * in channels. On a GPU lanes run side by side, and only those algorithms fill it whose lanes are
 * as many as their channels. NULL: any. */
const char *hk_comm_gpu_algorithms(const struct hk_comm *c, size_t bytes)
{
	if (c->ngpu_ranks < c->nranks || c->config.channels || bytes < 512u << 10)
		return NULL;
	return "ring_all_reduce,ring_all_gather,ring_reduce_scatter,ring_broadcast,ring_reduce";
}

/* One lane is one block's work: a few of them for latency, many to keep the memory busy. */
uint32_t hk_comm_gpu_channels(const struct hk_comm *c, size_t bytes)
{
	if (c->ngpu_ranks < c->nranks || c->config.channels)
		return c->config.channels;
	return bytes < 32u << 10 ? 1 : bytes < 512u << 10 ? 2 : bytes < 4u << 20 ? 8 : 16;
}

size_t hk_comm_device_memory(const struct hk_comm *c)
{
	size_t bytes = c->gpu ? hk_gpu_exec_memory(c->gpu) : 0;

	for (unsigned i = 0; i < c->nendpoints; i++)
		if (c->endpoints[i])
			bytes += c->endpoints[i]->transport->device_memory(c->endpoints[i]);
	return bytes;
}

void hk_comm_hold(struct hk_comm *c)
{
	if (c->gpu)
		hk_gpu_exec_hold(c->gpu);
}

void hk_comm_let_go(struct hk_comm *c)
{
	if (c->gpu)
		hk_gpu_exec_let_go(c->gpu);
}

int hk_comm_launch_plan(struct hk_comm *c, struct hk_plan *plan, const struct hk_call *call,
			const void *scalar_at, hocketStream_t stream)
{
	int err = hk_gpu_exec_call(c->gpu, plan, call, scalar_at, stream);

	/* What can't be captured was refused before anything of it was done. */
	return err && err != -EINVAL ? hk_comm_fail(c, err) : err;
}

int hk_comm_order_streams(struct hk_comm *c, hocketStream_t first, hocketStream_t then)
{
	int err = hk_gpu_exec_order(c->gpu, first, then);

	return err ? hk_comm_fail(c, err) : 0;
}

int hk_comm_launch(struct hk_comm *c, struct hk_request *req)
{
	struct hk_plan *plan = NULL;
	struct hk_call call;
	int err = hk_comm_copy(c, req);

	if (err)
		return err < 0 ? err : 0;
	err = hk_comm_start(c, req, &plan, &call);
	if (err || !plan)
		return err;
	err = hk_comm_launch_plan(c, plan, &call, req->device, req->stream);
	if (err == -EINVAL && req->coll != HK_POINT_TO_POINT) /* nothing was queued */
		c->sequence--;
	return err;
}

int hk_comm_finish(struct hk_comm *c)
{
	int err = hk_gpu_exec_finish(c->gpu);

	return err ? hk_comm_fail(c, err) : 0;
}

/* For host streams, whose threads wait for what they run. */
int hk_comm_run_on_gpu(struct hk_comm *c, struct hk_request *req)
{
	int err;

	req->stream = hk_gpu_exec_stream(c->gpu);
	err = hk_comm_launch(c, req);
	if (!err)
		err = hk_gpu_exec_wait(c->gpu);
	return err ? hk_comm_fail(c, err) : 0;
}
