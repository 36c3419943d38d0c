/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for buffers, and registration. Host memory needs none for shared memory or TCP, so that
 * registering records the range, for the transports that will need it, and checks its use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "comm.h"

#define HUGE_PAGE ((size_t)2 << 20)

struct block {
	void *base;
	size_t bytes;
	struct block *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;

hocketResult_t hocketMemAlloc(void **ptr, size_t size)
{
	size_t bytes = size ? (size + 4095) & ~(size_t)4095 : 4096;
	struct block *b;
	void *p;

	if (!ptr)
		return hk_result(hk_fail_quiet(EINVAL, "hocketMemAlloc: ptr is NULL"));
	if (bytes < size)
		return hk_result(
			hk_fail_quiet(EOVERFLOW, "hocketMemAlloc: %zu bytes are too many", size));
	b = malloc(sizeof(*b));
	p = b ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
	      : MAP_FAILED;
	if (p == MAP_FAILED) {
		free(b);
		return hk_result(hk_fail(ENOMEM, "hocketMemAlloc: no memory for %zu bytes", size));
	}
	if (bytes >= HUGE_PAGE)
		madvise(p, bytes, MADV_HUGEPAGE); /* a wish; what is refused costs speed only */
	*b = (struct block){p, bytes, NULL};
	pthread_mutex_lock(&lock);
	b->next = blocks;
	blocks = b;
	pthread_mutex_unlock(&lock);
	*ptr = p;
	return hocketSuccess;
}

hocketResult_t hocketMemFree(void *ptr)
{
	struct block *b = NULL;

	if (!ptr)
		return hocketSuccess;
	pthread_mutex_lock(&lock);
	for (struct block **at = &blocks; *at; at = &(*at)->next) {
		if ((*at)->base == ptr) {
			b = *at;
			*at = b->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	if (!b)
		return hk_result(
			hk_fail_quiet(EINVAL,
				      "hocketMemFree: %p did not come from hocketMemAlloc, or "
				      "was freed already",
				      ptr));
	munmap(b->base, b->bytes);
	free(b);
	return hocketSuccess;
}

static int add_region(struct hk_comm *c, void *buff, size_t size, void **handle)
{
	if (!buff || !size || !handle)
		return hk_fail_quiet(EINVAL, "hocketCommRegister: %s",
				     !buff   ? "buff is NULL"
				     : !size ? "size is 0"
					     : "handle is NULL");
	for (unsigned i = 0; i < HK_MAX_REGIONS; i++) {
		if (c->regions[i].base)
			continue;
		c->regions[i] = (struct hk_region){buff, size};
		*handle = &c->regions[i];
		return 0;
	}
	return hk_fail_quiet(EMFILE,
			     "hocketCommRegister: %d regions are registered; deregister some",
			     HK_MAX_REGIONS);
}

static int drop_region(struct hk_comm *c, void *handle)
{
	uintptr_t at = (uintptr_t)handle, base = (uintptr_t)c->regions;
	struct hk_region *r = handle;

	if (at < base || at >= base + sizeof(c->regions) || (at - base) % sizeof(*r) || !r->base)
		return hk_fail_quiet(EINVAL,
				     "hocketCommDeregister: %p is no registration of this "
				     "communicator",
				     handle);
	*r = (struct hk_region){NULL, 0};
	return 0;
}

hocketResult_t hocketCommRegister(const hocketComm_t comm, void *buff, size_t size, void **handle)
{
	struct hk_comm *c = hk_handle_enter(comm);
	int err;

	if (!c)
		return hocketInvalidArgument;
	err = add_region(c, buff, size, handle);
	hk_handle_leave(comm);
	return hk_result(err);
}

hocketResult_t hocketCommDeregister(const hocketComm_t comm, void *handle)
{
	struct hk_comm *c = hk_handle_enter(comm);
	int err;

	if (!c)
		return hocketInvalidArgument;
	err = drop_region(c, handle);
	hk_handle_leave(comm);
	return hk_result(err);
}
