/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the devices may read and write: the transport's own (rings, staging, control), which
 * is registered as a whole when it is made, and the user's, through the registration cache. Either
 * is registered once with each rail, as a message may take any of them. Memory of GPUs goes by
 * dmabufs, if all rails take them; else it is not registered.
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
	err = enlist(ep, &(struct hk_reg_range){base, got.bytes, -1, 0}, got.mr);
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

static int cache_add(void *arg, const struct hk_reg_range *range, struct hk_reg **reg)
{
	const struct hk_verbs_endpoint *ep = arg;
	struct hk_verbs_reg *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return hk_fail_quiet(ENOMEM, "no memory for a registration");
	err = enlist(ep, range, r->mr);
	if (err) {
		free(r);
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
	static const struct hk_reg_ops host = {.add = cache_add, .remove = cache_remove};
	static const struct hk_reg_ops device = {
		.add = cache_add,
		.remove = cache_remove,
		.find_device = hk_gpu_memory_find,
		.export_device = hk_gpu_memory_export,
	};
	unsigned takers = 0;

	for (unsigned i = 0; i < ep->nrails; i++)
		takers += hk_verbs_takes_dmabufs(hk_ibv(), ep->rails[i].pd);
	return hk_regcache_create(takers == ep->nrails ? &device : &host, ep,
				  (size_t)hk_param(HK_PARAM_IB_REG_BYTES), MOST_CACHED_REGIONS,
				  &ep->cache);
}
