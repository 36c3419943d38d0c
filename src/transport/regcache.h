/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cache of memory registrations, for transports whose devices move user memory without a copy.
 * It decides what may be registered, keeps it, and forgets it when the memory goes away; the
 * transport's hk_reg_ops do the registering. regcache.c says how it stays safe; vmwatch.h is how
 * it learns that memory went away.
 *
 * What is registered:
 * - ordinary private memory (malloc, mmap, stack), if the kernel tells us when it is unmapped
 *   (userfaultfd; the log says when not). Shared mappings, mapped files,
 *   read-only memory and huge pages of hugetlbfs are not: get() answers NULL, the caller copies;
 * - memory attached by the library, always;
 * - device memory, if it was created with a finder, and the devices take it.
 */
#ifndef HK_TRANSPORT_REGCACHE_H
#define HK_TRANSPORT_REGCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmwatch.h"

struct hk_regcache;
struct hk_memory;

/* Memory to register. Whole pages. */
struct hk_reg_range {
	void *base;
	size_t bytes;
	bool device;
	int dmabuf_fd;		/* -1: by its address. The cache closes it after add. */
	uint64_t dmabuf_offset; /* of base in the dmabuf */
};

/* A registration. The transport puts it first in its own struct, beside its ibv_mr per device. */
struct hk_reg {
	uintptr_t base; /* set by the cache after add */
	size_t bytes;
	/* The rest is the cache's. */
	struct hk_reg *newer, *older; /* in order of use */
	struct hk_vmwatch_range watch;
	uint64_t device_id; /* of the allocation, if from is HK_REG_DEVICE */
	unsigned users;
	enum { HK_REG_ORDINARY, HK_REG_ATTACHED, HK_REG_DEVICE } from;
	bool dead; /* no longer found; removed when its last user puts it */
};

/* One allocation of device memory. */
struct hk_device_memory {
	uint64_t base; /* with bytes: the whole pages that it lies in */
	size_t bytes;
	uint64_t start; /* where in them it starts */
	uint64_t id;	/* no other allocation of this process ever has it (CUDA: BUFFER_ID) */
};

/*
 * What a cache works with. All are called with the cache's lock held: they must not call the cache.
 * They may allocate and free.
 */
struct hk_reg_ops {
	/* Registers with every device and sets *reg, whose hk_reg is all zero. -ENOMEM: with fewer
	 * registrations it might do, and some are evicted. A failure is no
	 * error of the job (memory that can't be pinned is copied): say it with hk_fail_quiet. */
	int (*add)(void *arg, const struct hk_reg_range *range, struct hk_reg **reg);
	/* Deregisters and frees. */
	void (*remove)(void *arg, struct hk_reg *reg);
	/* Whether `at` is device memory; then its allocation. NULL: no memory is. */
	bool (*find_device)(void *arg, const void *at, struct hk_device_memory *memory);
	/* Before add. A dmabuf of the allocation, which starts at its base; or -1, and the devices
	 * are to find it by its address. */
	int (*export_device)(void *arg, const struct hk_device_memory *memory, int *dmabuf_fd);
};

struct hk_regcache_stats {
	uint64_t hits, misses;
	uint64_t refused;	/* gets answered NULL */
	uint64_t unsettled;	/* of these: because memory was just being unmapped */
	uint64_t evictions;	/* to stay within the bounds */
	uint64_t invalidations; /* because their memory went away */
	size_t bytes, most_bytes;
	unsigned regions, most_regions;
	bool ordinary; /* whether ordinary memory can be registered */
};

/* most_bytes and most_regions bound what is registered at a time, but for what is in use: a get
 * that would pass them evicts, oldest use first, and else answers NULL. With 0 bytes it always
 * does, and no memory is watched. */
int hk_regcache_create(const struct hk_reg_ops *ops, void *arg, size_t most_bytes,
		       unsigned most_regions, struct hk_regcache **cache);
/* Removes all registrations. None may be in use. NULL is fine. */
void hk_regcache_destroy(struct hk_regcache *c);

/*
 * A registration that covers [at, at + bytes), in use until put; NULL if there can't be one, then
 * the caller copies. The memory must be mapped until the put, as what is being sent or received is
 * anyway. Thread-safe. A hit costs a lock and, for ordinary memory, one short system call; a miss
 * registers.
 */
struct hk_reg *hk_regcache_get(struct hk_regcache *c, const void *at, size_t bytes);
void hk_regcache_put(struct hk_regcache *c, struct hk_reg *reg);

/*
 * The same for a whole buffer of which parts will be got soon: registers it at once, so that there
 * is one registration rather than one per part. Only a hint; nothing is in use after it.
 */
void hk_regcache_prepare(struct hk_regcache *c, const void *base, size_t bytes);

/* Memory that stays mapped, and keeps its pages, until detach. Registered where it is used, in
 * pieces of bounded size: unused parts of a large region stay unpinned. */
int hk_regcache_attach(struct hk_regcache *c, const struct hk_memory *m);
void hk_regcache_detach(struct hk_regcache *c, const struct hk_memory *m);

/* Removes what went away since the last get. For idle moments: else memory that the application
 * freed stays pinned until the next get. Cheap when there is nothing. */
void hk_regcache_tidy(struct hk_regcache *c);

void hk_regcache_stats(struct hk_regcache *c, struct hk_regcache_stats *stats);

#endif
