/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public memory functions. Memory from hocketMemAlloc can be mapped by peers on the same host;
 * once registered with a communicator its transports may read it in place instead of copying. Other
 * memory can be registered too, and is copied as ever. Registered memory must not be freed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

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

hocketResult_t hocketDeviceCount(int *count)
{
	if (!count)
		return hk_result(hk_fail_quiet(EINVAL, "hocketDeviceCount: count is NULL"));
	*count = hk_gpu_exec_count();
	return hocketSuccess;
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

static void detach(struct hk_comm *c, struct hk_region *r, unsigned nendpoints)
{
	for (unsigned i = 0; r->attached && i < nendpoints; i++)
		if (c->endpoints[i])
			c->endpoints[i]->transport->detach(c->endpoints[i], &r->block);
}

static int attach(struct hk_comm *c, struct hk_region *r)
{
	r->attached = hk_arena_find(r->base, r->bytes, &r->block);
	if (!r->attached && c->gpu && hk_gpu_exec_owns(c->gpu, r->base)) {
		r->block = (struct hk_memory){.base = r->base, .bytes = r->bytes, .fd = -1};
		r->attached = true;
	}
	for (unsigned i = 0; r->attached && i < c->nendpoints; i++) {
		int err = c->endpoints[i]
				  ? c->endpoints[i]->transport->attach(c->endpoints[i], &r->block)
				  : 0;

		if (err) {
			detach(c, r, i);
			return err;
		}
	}
	return 0;
}

static int add_region(struct hk_comm *c, void *buff, size_t size, void **handle)
{
	struct hk_region *r = malloc(sizeof(*r));
	int err;

	if (!r)
		return hk_fail(ENOMEM, "no memory for a registration");
	*r = (struct hk_region){.next = c->regions, .base = buff, .bytes = size};
	err = attach(c, r);
	if (err) {
		free(r);
		return err;
	}
	c->regions = r;
	*handle = r;
	return 0;
}

static int drop_region(struct hk_comm *c, const void *handle)
{
	struct hk_region **place = &c->regions, *r;

	while (*place && *place != handle)
		place = &(*place)->next;
	r = *place;
	if (!r)
		return hk_fail_quiet(EINVAL,
				     "hocketCommDeregister: %p is no registration of this "
				     "communicator",
				     handle);
	*place = r->next;
	detach(c, r, c->nendpoints);
	free(r);
	return 0;
}

void hk_comm_free_regions(struct hk_comm *c)
{
	while (c->regions) {
		struct hk_region *r = c->regions;

		c->regions = r->next;
		free(r);
	}
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
