/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the devices may read and write: the transport's own (rings, staging, control), which
 * is registered as a whole when it is made, and the user's, through the registration cache. Either
 * is registered once with each rail, as a message may take any of them. Memory of GPUs goes by
 * dmabufs, if all rails take them and the driver makes them; else by its address, which a device
 * takes where the kernel module nvidia-peermem finds the GPU's pages for it. Whether that is so is
 * seen when it is first tried.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "gpu_memory.h"
#include "param.h"
#include "verbs.h"

#define MOST_CACHED_REGIONS 1024u

static void deregister(struct ibv_mr **mr)
{
	for (unsigned i = 0; i < HK_VERBS_RAILS; i++)
		if (mr[i])
			hk_ibv()->dereg_mr(mr[i]);
}

/* With all rails, or with none. */
static int enlist(const struct hk_verbs_endpoint *ep, const struct hk_reg_range *range,
		  struct ibv_mr **mr)
{
	const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	struct ibv_mr *got[HK_VERBS_RAILS] = {NULL};

	for (unsigned i = 0; i < ep->nrails; i++) {
		struct ibv_pd *pd = ep->rails[i].pd;

		if (range->dmabuf_fd < 0)
			got[i] = hk_ibv()->reg_mr(pd, range->base, range->bytes, access);
		else
			got[i] = hk_ibv()->reg_dmabuf_mr(pd, range->dmabuf_offset, range->bytes,
							 (uintptr_t)range->base, range->dmabuf_fd,
							 access);
		if (!got[i]) {
			int err = errno ? -errno : -ENOMEM;

			deregister(got);
			return err;
		}
	}
	memcpy(mr, got, sizeof(got));
	return 0;
}

int hk_verbs_memory_get(struct hk_verbs_endpoint *ep, size_t bytes, struct hk_verbs_memory *m)
{
	struct hk_verbs_memory got = {.bytes = (bytes + 4095) / 4096 * 4096};
	void *base =
		mmap(NULL, got.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (base == MAP_FAILED)
		return hk_fail(ENOMEM, "no memory for %zu bytes that RDMA devices reach",
			       got.bytes);
	got.base = base;
	madvise(base, got.bytes, MADV_DONTFORK); /* the devices' pages stay with this process */
	err = enlist(ep, &(struct hk_reg_range){.base = base, .bytes = got.bytes, .dmabuf_fd = -1},
		     got.mr);
	if (err) {
		munmap(base, got.bytes);
		return hk_fail(
			-err,
			"%zu bytes could not be registered with %s: %s; raise the limit of "
			"locked memory (ulimit -l unlimited, or LimitMEMLOCK=infinity in the "
			"service that starts the job)",
			got.bytes, ep->rails[0].port.name, strerror(-err));
	}
	ep->memory += got.bytes;
	*m = got;
	return 0;
}

void hk_verbs_memory_put(struct hk_verbs_endpoint *ep, struct hk_verbs_memory *m)
{
	if (!m->base)
		return;
	deregister(m->mr);
	munmap(m->base, m->bytes);
	ep->memory -= m->bytes;
	*m = (struct hk_verbs_memory){0};
}

/* --- the user's memory --- */

/* A GPU's memory by its address. Where it failed first it is not tried again; but where it has
 * worked, memory may come that was allocated in another way. */
static int enlist_address(struct hk_verbs_endpoint *ep, const struct hk_reg_range *range,
			  struct ibv_mr **mr)
{
	struct hk_reg_range plain = *range;
	int err;

	if (ep->peermem == HK_PEERMEM_FAILS)
		return -ENOTSUP;
	plain.dmabuf_fd = -1;
	err = enlist(ep, &plain, mr);
	if (!err)
		ep->peermem = HK_PEERMEM_WORKS;
	else if (err != -ENOMEM && ep->peermem == HK_PEERMEM_UNTRIED)
		ep->peermem = HK_PEERMEM_FAILS;
	return err;
}

static int cache_add(void *arg, const struct hk_reg_range *range, struct hk_reg **reg)
{
	struct hk_verbs_endpoint *ep = arg;
	struct hk_verbs_reg *r = calloc(1, sizeof(*r));
	int err = -ENOTSUP;

	if (!r)
		return hk_fail_quiet(ENOMEM, "no memory for a registration");
	if (!range->device || range->dmabuf_fd >= 0)
		err = enlist(ep, range, r->mr);
	if (err && err != -ENOMEM && range->device)
		err = enlist_address(ep, range, r->mr);
	if (err) {
		free(r);
		if (range->device)
			return hk_fail_quiet(
				-err,
				"%s can't read the GPU's memory (%s): that takes RDMA devices, a "
				"kernel and a CUDA driver with dmabufs, or the kernel module "
				"nvidia-peermem",
				ep->rails[0].port.name, strerror(-err));
		return hk_fail_quiet(-err, "%zu bytes of the user's memory can't be registered: %s",
				     range->bytes, strerror(-err));
	}
	*reg = &r->reg;
	return 0;
}

static void cache_remove(void *arg, struct hk_reg *reg)
{
	struct hk_verbs_reg *r = (struct hk_verbs_reg *)reg;

	deregister(r->mr);
	free(r);
}

static int cache_export(void *arg, const struct hk_device_memory *memory, int *fd)
{
	const struct hk_verbs_endpoint *ep = arg;

	if (!hk_param(HK_PARAM_GPUDIRECT))
		return hk_fail_quiet(ENOTSUP, "HOCKET_GPUDIRECT is 0");
	if (ep->dmabufs && !hk_gpu_memory_export(arg, memory, fd))
		return 0;
	hk_gpu_memory_share(memory);
	*fd = -1;
	return 0;
}

bool hk_verbs_takes_dmabufs(const struct hk_ibv *ibv, struct ibv_pd *pd)
{
	struct ibv_mr *mr;

	if (!ibv->reg_dmabuf_mr)
		return false;
	/* Of a descriptor that is none, who knows dmabufs says just that. */
	mr = ibv->reg_dmabuf_mr(pd, 0, (size_t)sysconf(_SC_PAGESIZE), 0, -1,
				IBV_ACCESS_LOCAL_WRITE);
	if (mr)
		ibv->dereg_mr(mr);
	return !mr && errno == EBADF;
}

int hk_verbs_cache_open(struct hk_verbs_endpoint *ep)
{
	static const struct hk_reg_ops ops = {
		.add = cache_add,
		.remove = cache_remove,
		.find_device = hk_gpu_memory_find,
		.export_device = cache_export,
	};
	unsigned takers = 0;

	for (unsigned i = 0; i < ep->nrails; i++)
		takers += hk_verbs_takes_dmabufs(hk_ibv(), ep->rails[i].pd);
	ep->dmabufs = takers == ep->nrails;
	return hk_regcache_create(&ops, ep, (size_t)hk_param(HK_PARAM_IB_REG_BYTES),
				  MOST_CACHED_REGIONS, &ep->cache);
}

void hk_verbs_cache_close(struct hk_verbs_endpoint *ep)
{
	if (ep->admitted)
		hk_regcache_put(ep->cache, ep->admitted);
	ep->admitted = NULL;
	hk_regcache_destroy(ep->cache);
}

/* The registration stays in use, so that messages find it whatever else is registered. */
int hk_verbs_admit(struct hk_endpoint *base, uint64_t at, size_t bytes, uint32_t *least)
{
	struct hk_verbs_endpoint *ep = hk_verbs_endpoint(base);
	struct hk_reg *reg;

	/* Unless the attempt says more. */
	hk_set_last_error("the GPU's memory does not fit among the registrations: raise "
			  "HOCKET_IB_REG_BYTES");
	reg = hk_regcache_get(ep->cache, (const void *)(uintptr_t)at, bytes);
	if (!reg)
		return -ENOTSUP;
	if (ep->admitted)
		hk_regcache_put(ep->cache, ep->admitted);
	ep->admitted = reg;
	*least = HK_VERBS_LEND;
	return 0;
}
