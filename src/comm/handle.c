/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Communicator handles: pointers into one static table. Whether a pointer is a live handle is
 * decided by its position and the entry's content, so that a null, foreign, stale or destroyed
 * handle gives an error and is never followed. Entries are reused in turn, so a stale handle stays
 * recognisable long.
 */
#include <errno.h>
#include <sched.h>

#include "comm.h"

#define MAX_COMMS 4096

static struct hocketComm table[MAX_COMMS];
static _Atomic uint32_t next_entry;

static bool in_table(hocketComm_t h)
{
	uintptr_t at = (uintptr_t)h, base = (uintptr_t)table;

	return at >= base && at < base + sizeof(table) && (at - base) % sizeof(table[0]) == 0;
}

int hk_handle_new(struct hk_comm *c, hocketComm_t *handle)
{
	for (uint32_t i = 0; i < MAX_COMMS; i++) {
		hocketComm_t h = &table[atomic_fetch_add(&next_entry, 1) % MAX_COMMS];
		struct hk_comm *none = NULL;

		if (atomic_load(&h->users) == 0 &&
		    atomic_compare_exchange_strong(&h->comm, &none, c)) {
			*handle = h;
			return 0;
		}
	}
	return hk_fail(EMFILE, "this process has %d communicators; destroy some first", MAX_COMMS);
}

static struct hk_comm *__attribute__((cold, noinline)) refuse(hocketComm_t h)
{
	if (!h)
		hk_fail_quiet(EINVAL, "the communicator is NULL; make one with hocketCommInitRank");
	else
		hk_fail_quiet(EINVAL, "%p is not a communicator, or was destroyed or aborted",
			      (void *)h);
	return NULL;
}

struct hk_comm *hk_handle_enter(hocketComm_t h)
{
	struct hk_comm *c;

	if (__builtin_expect(!in_table(h), 0))
		return refuse(h);
	/* Before the load of comm: whoever takes the communicator out waits for its users after. */
	atomic_fetch_add(&h->users, 1);
	c = atomic_load(&h->comm);
	if (__builtin_expect(!c, 0)) {
		hk_handle_leave(h);
		return refuse(h);
	}
	return c;
}

void hk_handle_leave(hocketComm_t h)
{
	atomic_fetch_sub_explicit(&h->users, 1, memory_order_release);
}

struct hk_comm *hk_handle_take(hocketComm_t h)
{
	struct hk_comm *c;

	if (!in_table(h))
		return refuse(h);
	c = atomic_exchange(&h->comm, NULL);
	return c ? c : refuse(h);
}

void hk_handle_drain(hocketComm_t h)
{
	while (atomic_load(&h->users))
		sched_yield();
}
