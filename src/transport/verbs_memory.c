/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the devices may read and write: the transport's own (rings, staging, control), which
 * is registered as a whole when it is made, and the user's, through the registration cache. Either
 * is registered once with each rail, as a message may take any of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "param.h"
#include "verbs.h"

#define MOST_CACHED_BYTES   ((size_t)1 << 30)
#define MOST_CACHED_REGIONS 1024u

static void deregister(struct ibv_mr **mr)
{
	for (unsigned i = 0; i < HK_VERBS_RAILS; i++)
		if (mr[i])
			hk_ibv()->dereg_mr(mr[i]);
}

/* With all rails, or with none. */
static int enlist(const struct hk_verbs_endpoint *ep, void *base, size_t bytes, struct ibv_mr **mr)
{
	struct ibv_mr *got[HK_VERBS_RAILS] = {NULL};

	for (unsigned i = 0; i < ep->nrails; i++) {
		got[i] = hk_ibv()->reg_mr(ep->rails[i].pd, base, bytes,
					  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
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
	err = enlist(ep, base, got.bytes, got.mr);
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
	err = enlist(ep, range->base, range->bytes, r->mr);
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

int hk_verbs_cache_open(struct hk_verbs_endpoint *ep)
{
	static const struct hk_reg_ops ops = {.add = cache_add, .remove = cache_remove};

	return hk_regcache_create(&ops, ep, MOST_CACHED_BYTES, MOST_CACHED_REGIONS, &ep->cache);
}
