/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Communicator handles: pointers into one static table. Whether a pointer is a live handle is
 * decided by its position and the entry's content, so that a null, foreign, stale or destroyed
 * handle gives an error and is never followed. Entries are reused in turn, so a stale handle stays
 * recognisable long.
 *
 * An entry is claimed before its communicator exists: it then refers to the creation that is under
 * way (make.c), which it keeps to its end, and gets the communicator when that is ready.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "comm.h"

#define MAX_COMMS 4096
#define SPINS	  200 /* before a drain sleeps between its looks */

static struct hocketComm table[MAX_COMMS];
static _Atomic uint32_t next_entry;
static _Thread_local int why;

static bool in_table(hocketComm_t h)
{
	uintptr_t at = (uintptr_t)h, base = (uintptr_t)table;

	return at >= base && at < base + sizeof(table) && (at - base) % sizeof(table[0]) == 0;
}

int hk_handle_claim(struct hk_make *m, hocketComm_t *handle)
{
	for (uint32_t i = 0; i < MAX_COMMS; i++) {
		hocketComm_t h = &table[atomic_fetch_add(&next_entry, 1) % MAX_COMMS];
		bool no = false;

		if (atomic_compare_exchange_strong(&h->claimed, &no, true)) {
			atomic_store(&h->make, m);
			*handle = h;
			return 0;
		}
	}
	return hk_fail(EMFILE, "this process has %d communicators; destroy some first", MAX_COMMS);
}

void hk_handle_publish(hocketComm_t h, struct hk_comm *c)
{
	atomic_store(&h->comm, c);
}

static void __attribute__((cold, noinline)) refuse(hocketComm_t h)
{
	why = h ? hk_fail_quiet(EINVAL, "%p is not a communicator, or was destroyed or aborted",
				(void *)h)
		: hk_fail_quiet(EINVAL,
				"the communicator is NULL; make one with hocketCommInitRank");
}

/* There is no communicator behind the handle: not yet, not any more, or it never came about. */
static struct hk_comm *__attribute__((cold, noinline)) explain(hocketComm_t h)
{
	struct hk_make *m = atomic_load(&h->make);

	if (m)
		why = hk_make_refuse(m);
	else
		refuse(h);
	hk_handle_leave(h);
	return NULL;
}

struct hk_comm *hk_handle_enter(hocketComm_t h)
{
	struct hk_comm *c;

	if (__builtin_expect(!in_table(h), 0)) {
		refuse(h);
		return NULL;
	}
	/* Before the load of comm: whoever takes the communicator out waits for its users after. */
	atomic_fetch_add(&h->users, 1);
	c = atomic_load(&h->comm);
	return __builtin_expect(c != NULL, 1) ? c : explain(h);
}

int hk_handle_why(void)
{
	return why;
}

struct hk_make *hk_handle_enter_make(hocketComm_t h)
{
	struct hk_make *m;

	if (!in_table(h)) {
		refuse(h);
		return NULL;
	}
	atomic_fetch_add(&h->users, 1);
	m = atomic_load(&h->make);
	if (m)
		return m;
	refuse(h);
	hk_handle_leave(h);
	return NULL;
}

void hk_handle_leave(hocketComm_t h)
{
	atomic_fetch_sub_explicit(&h->users, 1, memory_order_release);
}

struct hk_make *hk_handle_take(hocketComm_t h)
{
	struct hk_make *m = in_table(h) ? atomic_exchange(&h->make, NULL) : NULL;

	if (!m)
		refuse(h);
	return m;
}

struct hk_comm *hk_handle_take_comm(hocketComm_t h)
{
	return atomic_exchange(&h->comm, NULL);
}

void hk_handle_drain(hocketComm_t h)
{
	struct timespec nap = {0, 50000};

	for (unsigned spins = 0; atomic_load(&h->users); spins++) {
		if (spins < SPINS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
}

void hk_handle_release(hocketComm_t h)
{
	atomic_store(&h->claimed, false);
}
