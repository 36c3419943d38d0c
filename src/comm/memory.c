/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public memory functions. Memory from hocketMemAlloc can be mapped by peers on the same host;
 * once registered with a communicator its transports may read it in place instead of copying. Other
 * memory can be registered too, and is copied as ever. Registered memory must not be freed.
 */
#include <errno.h>
#include <pthread.h>

#include "arena.h"
#include "comm.h"

/* Of the tables of all communicators: registrations are rare. A window of a group is registered by
 * a thread of its own. */
static pthread_mutex_t tables = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void hk_comm_lock_memory(struct hk_comm *c)
{
	pthread_mutex_lock(&tables);
	hk_comm_hold(c);
}

void hk_comm_unlock_memory(struct hk_comm *c)
{
	hk_comm_let_go(c);
	pthread_mutex_unlock(&tables);
}

hocketResult_t hocketMemAlloc(void **ptr, size_t size)
{
	if (!ptr)
		return hk_result(hk_fail_quiet(EINVAL, "hocketMemAlloc: ptr is NULL"));
	return hk_result(hk_arena_alloc(size, ptr));
}

hocketResult_t hocketDeviceMemAlloc(void **ptr, size_t size, int device)
{
	if (!ptr)
		return hk_result(hk_fail_quiet(EINVAL, "hocketDeviceMemAlloc: ptr is NULL"));
	if (device == HOCKET_DEVICE_CURRENT)
		device = hk_gpu_exec_current();
	if (device == HOCKET_DEVICE_NONE)
		return hocketMemAlloc(ptr, size);
	return hk_result(hk_gpu_exec_mem_alloc(device, size, ptr));
}

hocketResult_t hocketMemFree(void *ptr)
{
	int err;

	if (!ptr || hk_arena_free(ptr) == 0)
		return hocketSuccess;
	err = hk_gpu_exec_mem_free(ptr);
	if (err != -ENOENT)
		return hk_result(err);
	return hk_result(hk_fail_quiet(
		EINVAL, "hocketMemFree: %p did not come from hocketMemAlloc, or was freed already",
		ptr));
}

static int attach(struct hk_comm *c, struct hk_region *r)
{
	r->attached = hk_arena_find(r->base, r->bytes, &r->block);
	if (!r->attached && c->gpu && hk_gpu_exec_owns(c->gpu, r->base)) {
		r->block = (struct hk_memory){.base = r->base, .bytes = r->bytes, .fd = -1};
		r->attached = true;
	}
	for (unsigned i = 0; r->attached && i < c->nendpoints; i++) {
		int err;

		if (!c->endpoints[i])
			continue;
		err = c->endpoints[i]->transport->attach(c->endpoints[i], &r->block);
		if (err)
			return err;
	}
	return 0;
}

static int add_region(struct hk_comm *c, void *buff, size_t size, void **handle)
{
	int err;

	for (unsigned i = 0; i < HK_MAX_REGIONS; i++) {
		if (c->regions[i].base)
			continue;
		c->regions[i] = (struct hk_region){.base = buff, .bytes = size};
		err = attach(c, &c->regions[i]);
		if (err) {
			c->regions[i].base = NULL;
			return err;
		}
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
	for (unsigned i = 0; r->attached && i < c->nendpoints; i++)
		if (c->endpoints[i])
			c->endpoints[i]->transport->detach(c->endpoints[i], &r->block);
	*r = (struct hk_region){.base = NULL};
	return 0;
}

int hk_comm_register(struct hk_comm *c, void *buff, size_t size, void **handle)
{
	int err;

	hk_comm_lock_memory(c);
	err = add_region(c, buff, size, handle);
	hk_comm_unlock_memory(c);
	return err;
}

int hk_comm_deregister(struct hk_comm *c, void *handle)
{
	int err;

	hk_comm_lock_memory(c);
	err = drop_region(c, handle);
	hk_comm_unlock_memory(c);
	return err;
}

/* The transports' tables are the hot path's: nothing may run while they change. */
hocketResult_t hocketCommRegister(const hocketComm_t comm, void *buff, size_t size, void **handle)
{
	struct hk_comm *c;
	int err;

	if (!buff || !size || !handle)
		return hk_result(hk_fail_quiet(EINVAL, "hocketCommRegister: %s",
					       !buff   ? "buff is NULL"
					       : !size ? "size is 0"
						       : "handle is NULL"));
	c = hk_handle_enter(comm);
	if (!c)
		return hk_result(hk_handle_why());
	hk_comm_quiesce(c);
	err = hk_comm_register(c, buff, size, handle);
	hk_handle_leave(comm);
	return hk_result(err);
}

hocketResult_t hocketCommDeregister(const hocketComm_t comm, void *handle)
{
	struct hk_comm *c = hk_handle_enter(comm);
	int err;

	if (!c)
		return hk_result(hk_handle_why());
	hk_comm_quiesce(c);
	err = hk_comm_deregister(c, handle);
	hk_handle_leave(comm);
	return hk_result(err);
}
