/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that moves user memory holds on to its pages. If the application then unmaps that memory
 * and maps other memory at the same address, the device still moves the old pages: silent
 * corruption. Intercepting munmap and its relatives in the C library would miss those who call the
 * kernel themselves, so we ask the kernel: userfaultfd reports unmapping (EVENT_UNMAP, also of what
 * mmap replaces and what brk gives back), moving (EVENT_REMAP) and emptying (EVENT_REMOVE, of
 * MADV_DONTNEED and its like) of the ranges that it was told to watch. They are watched in
 * write-protect mode and nothing is ever write-protected, so no access ever faults or gets slower.
 *
 * Who unmaps waits inside the kernel until our thread has read the event. What follows from that,
 * and what doesn't:
 *
 * - The thread says that it is `reading` before it reads, and tells the watchers before it says
 *   that it has done. So whoever got back from munmap finds either `reading` set or the range
 *   among those that are gone.
 * - But the kernel lets others have the address before the unmapping thread is back, even before
 *   the event can be read: another thread may map and use it meanwhile. That the kernel itself
 *   knows: it counts such unfinished changes from before the address is free, and while there is
 *   one it refuses UFFDIO_WRITEPROTECT with EAGAIN. settled() asks so, with an empty range, which
 *   else is refused with EINVAL. Only then the `reading` flag says all.
 * - EVENT_REMOVE comes before the pages are dropped. A page that was watched anew in between would
 *   lose its content unseen. So one may only add pages of which some bytes are in use by the
 *   caller, or which were watched all the time: nobody who is sane empties those.
 *
 * Not told are: shmat with SHM_REMAP over watched memory, guards put into it (MADV_GUARD_INSTALL,
 * Linux 6.13) and taken away again, and the truncation of a tmpfs file of which it is a private
 * mapping. Who does that to buffers must keep them out of the cache.
 *
 * The thread that reads must never wait for one that unmaps, however indirectly: it takes no lock
 * but `telling`, which nobody holds while allocating, freeing or unmapping, and allocates nothing
 * itself. The other lock, `lock`, may be held while the C library unmaps; the thread never takes
 * it. It closes the userfaultfd itself when it ends, which frees those who still wait.
 *
 * A child by fork inherits neither the thread nor the watched ranges, but a copy of the descriptor,
 * which would keep the parent's ranges alive after the parent closed its own, with nobody to read:
 * the child closes it at once. Generations tell what a child inherited from what is its own.
 */
#include "vmwatch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "error.h"

#define STACK_BYTES (256u << 10)
#define FEATURES                                                                                   \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE |   \
	 UFFD_FEATURE_EVENT_REMAP)

/* Newer than some headers that we compile with (Linux 5.11, 6.1). */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

static struct {
	pthread_mutex_t lock; /* of all but the next line */
	pthread_mutex_t telling;
	struct hk_vmwatch *watchers;

	struct hk_vmwatch_range ranges; /* head of a ring */
	unsigned nwatchers;
	int uffd, stop, pagemap;
	size_t page;
	pthread_t thread;
	bool atfork, said;
	atomic_bool reading;
	atomic_uint events;
	atomic_uint generation; /* of this process: 1, in a child 2, ... */
} vm = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.telling = PTHREAD_MUTEX_INITIALIZER,
	.ranges = {.prev = &vm.ranges, .next = &vm.ranges},
	.uffd = -1,
	.stop = -1,
	.pagemap = -1,
	.generation = 1,
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the thread ---- */

static void tell(uintptr_t base, uintptr_t end)
{
	pthread_mutex_lock(&vm.telling);
	for (struct hk_vmwatch *w = vm.watchers; w; w = w->next) {
		unsigned n = atomic_load_explicit(&w->ngone, memory_order_relaxed);
		struct hk_vmwatch_gone *last = &w->gone[HK_VMWATCH_GONE - 1];

		if (n < HK_VMWATCH_GONE) {
			w->gone[n] = (struct hk_vmwatch_gone){base, end};
			atomic_store(&w->ngone, n + 1);
			continue;
		}
		last->base = base < last->base ? base : last->base;
		last->end = end > last->end ? end : last->end;
	}
	pthread_mutex_unlock(&vm.telling);
}

static void unregister(int uffd, uintptr_t base, uintptr_t end)
{
	struct uffdio_range r = {base, end - base};

	/* Fails where the range is unmapped, or a file is mapped there now. Parts that then stay
	 * watched cost their owner a moment when they go, no more. */
	if (ioctl(uffd, UFFDIO_UNREGISTER, &r) < 0)
		return;
}

static void handle(int uffd, const struct uffd_msg *m)
{
	if (m->event == UFFD_EVENT_UNMAP || m->event == UFFD_EVENT_REMOVE) {
		tell((uintptr_t)m->arg.remove.start, (uintptr_t)m->arg.remove.end);
	} else if (m->event == UFFD_EVENT_REMAP) {
		uintptr_t from = (uintptr_t)m->arg.remap.from, to = (uintptr_t)m->arg.remap.to;

		/* The kernel goes on to watch the memory at its new place. */
		unregister(uffd, to, to + (uintptr_t)m->arg.remap.len);
		tell(from, from + (uintptr_t)m->arg.remap.len);
	}
	atomic_fetch_add(&vm.events, 1);
}

static void *serve(void *arg)
{
	struct pollfd fds[2] = {{vm.uffd, POLLIN, 0}, {vm.stop, POLLIN, 0}};
	int uffd = vm.uffd;
	struct uffd_msg m;

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			break;
		atomic_store(&vm.reading, true);
		while (read(uffd, &m, sizeof(m)) == (ssize_t)sizeof(m))
			handle(uffd, &m);
		atomic_store(&vm.reading, false);
	}
	close(uffd);
	return arg;
}

/* ---- start and stop; with vm.lock held ---- */

static int not_here(const char *what, int err)
{
	if (!vm.said)
		hk_log(HK_LOG_INFO,
		       "memory that hocketMemAlloc did not give out is copied before it goes to an "
		       "RDMA device, because the kernel can't tell when it is unmapped: %s: %s. "
		       "Remedy: Linux 5.15 or newer; in a container a seccomp profile that allows "
		       "userfaultfd, or the device /dev/userfaultfd",
		       what, strerror(err));
	vm.said = true;
	return -ENOTSUP;
}

/* Before 5.15 a change that ended could hide another that had not. */
static bool kernel_is_new(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 5 || (major == 5 && minor >= 15));
}

static int open_userfaultfd(int *uffd)
{
	struct uffdio_api api = {.api = UFFD_API, .features = FEATURES};
	int flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, err;
	int fd = (int)syscall(SYS_userfaultfd, flags);

	if (fd < 0) {
		int device;

		err = errno;
		device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (device >= 0) {
			fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
			close(device);
		}
		if (fd < 0)
			return not_here("userfaultfd", err);
	}
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		err = errno;
		close(fd);
		return not_here("userfaultfd's events", err);
	}
	*uffd = fd;
	return 0;
}

static int start_thread(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return err;
	sigfillset(&all);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&vm.thread, &attr, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (!err)
		pthread_setname_np(vm.thread, "hocket-vmwatch");
	return err;
}

static void stop(void)
{
	uint64_t one = 1;

	/* An eventfd that was never written takes it. The thread closes vm.uffd. */
	if (write(vm.stop, &one, sizeof(one)) == (ssize_t)sizeof(one))
		pthread_join(vm.thread, NULL);
	vm.uffd = -1;
	close_fd(&vm.stop);
	close_fd(&vm.pagemap);
}

static bool watch(uintptr_t base, uintptr_t end)
{
	struct uffdio_register r = {{base, end - base}, UFFDIO_REGISTER_MODE_WP, 0};

	return ioctl(vm.uffd, UFFDIO_REGISTER, &r) == 0;
}

/* Emulated kernels may accept all of it and tell nothing. */
static bool try_it(void)
{
	unsigned before = atomic_load(&vm.events);
	void *page =
		mmap(NULL, vm.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool watched;

	if (page == MAP_FAILED)
		return false;
	watched = watch((uintptr_t)page, (uintptr_t)page + vm.page);
	munmap(page, vm.page);
	while (watched && atomic_load(&vm.reading))
		sched_yield();
	return watched && atomic_load(&vm.events) > before;
}

static int start(void)
{
	int err;

	if (!kernel_is_new())
		return not_here("an old kernel", ENOSYS);
	vm.page = (size_t)sysconf(_SC_PAGESIZE);
	err = open_userfaultfd(&vm.uffd);
	if (err)
		return err;
	vm.stop = eventfd(0, EFD_CLOEXEC);
	vm.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (vm.stop < 0 || vm.pagemap < 0) {
		err = not_here(vm.stop < 0 ? "eventfd" : "/proc/self/pagemap", errno);
		goto close;
	}
	err = start_thread();
	if (err) {
		err = not_here("a thread", err);
		goto close;
	}
	if (!try_it()) {
		stop();
		return not_here("userfaultfd tells nothing", ENOSYS);
	}
	return 0;
close:
	close_fd(&vm.uffd);
	close_fd(&vm.stop);
	close_fd(&vm.pagemap);
	return err;
}

/* ---- fork ---- */

/* No lock is held across a fork: other fork handlers may wait for threads that wait for ours. */
static void in_child(void)
{
	close_fd(&vm.uffd);
	close_fd(&vm.stop);
	close_fd(&vm.pagemap);
	vm.nwatchers = 0;
	vm.watchers = NULL;
	vm.ranges.prev = vm.ranges.next = &vm.ranges;
	pthread_mutex_init(&vm.lock, NULL);
	pthread_mutex_init(&vm.telling, NULL);
	atomic_store(&vm.reading, false);
	atomic_fetch_add(&vm.generation, 1);
}

/* ---- what others call ---- */

int hk_vmwatch_open(struct hk_vmwatch *w)
{
	int err = 0;

	pthread_mutex_lock(&vm.lock);
	if (!vm.atfork) {
		err = pthread_atfork(NULL, NULL, in_child);
		if (err)
			err = not_here("fork handlers", err);
		vm.atfork = !err;
	}
	if (!err && vm.nwatchers == 0)
		err = start();
	*w = (struct hk_vmwatch){.generation = atomic_load(&vm.generation), .open = !err};
	if (!err) {
		vm.nwatchers++;
		pthread_mutex_lock(&vm.telling);
		w->next = vm.watchers;
		vm.watchers = w;
		pthread_mutex_unlock(&vm.telling);
	}
	pthread_mutex_unlock(&vm.lock);
	return err;
}

void hk_vmwatch_close(struct hk_vmwatch *w)
{
	struct hk_vmwatch **p;

	if (!w->open || hk_vmwatch_forked(w))
		return;
	pthread_mutex_lock(&vm.lock);
	pthread_mutex_lock(&vm.telling);
	for (p = &vm.watchers; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	pthread_mutex_unlock(&vm.telling);
	if (--vm.nwatchers == 0)
		stop();
	w->open = false;
	pthread_mutex_unlock(&vm.lock);
}

bool hk_vmwatch_add(struct hk_vmwatch_range *r)
{
	bool ok;

	pthread_mutex_lock(&vm.lock);
	/* Even if others watch all of it: their range may have gone since. */
	ok = watch(r->base, r->end);
	if (ok) {
		r->generation = atomic_load(&vm.generation);
		r->prev = vm.ranges.prev;
		r->next = &vm.ranges;
		r->prev->next = r->next->prev = r;
	}
	pthread_mutex_unlock(&vm.lock);
	return ok;
}

/* Ends watching what lies from at to end in no range of the list. */
static void unwatch(uintptr_t at, uintptr_t end)
{
	while (at < end) {
		uintptr_t next = end, covered = 0;

		for (struct hk_vmwatch_range *r = vm.ranges.next; r != &vm.ranges; r = r->next) {
			if (r->base <= at && at < r->end)
				covered = r->end;
			else if (r->base > at && r->base < next)
				next = r->base;
		}
		if (!covered)
			unregister(vm.uffd, at, next);
		at = covered ? covered : next;
	}
}

void hk_vmwatch_remove(struct hk_vmwatch_range *r)
{
	pthread_mutex_lock(&vm.lock);
	if (r->generation == atomic_load(&vm.generation)) {
		r->prev->next = r->next;
		r->next->prev = r->prev;
		r->generation = 0;
		unwatch(r->base, r->end);
	}
	pthread_mutex_unlock(&vm.lock);
}

void hk_vmwatch_move(struct hk_vmwatch_range *from, struct hk_vmwatch_range *to)
{
	pthread_mutex_lock(&vm.lock);
	*to = *from;
	to->prev->next = to->next->prev = to;
	from->generation = 0;
	pthread_mutex_unlock(&vm.lock);
}

bool hk_vmwatch_settled(const struct hk_vmwatch *w)
{
	struct uffdio_writeprotect nothing = {.range = {0, 0}};

	if (!w->open || hk_vmwatch_forked(w) ||
	    ioctl(vm.uffd, UFFDIO_WRITEPROTECT, &nothing) == 0 || errno != EINVAL)
		return false;
	/* What the kernel said is older than what we read now. */
	__sync_synchronize();
	return !atomic_load(&vm.reading);
}

bool hk_vmwatch_pending(const struct hk_vmwatch *w)
{
	return atomic_load(&w->ngone) != 0;
}

unsigned hk_vmwatch_take(struct hk_vmwatch *w, struct hk_vmwatch_gone *gone)
{
	unsigned n;

	if (!hk_vmwatch_pending(w))
		return 0;
	pthread_mutex_lock(&vm.telling);
	n = atomic_exchange(&w->ngone, 0);
	memcpy(gone, w->gone, n * sizeof(*gone));
	pthread_mutex_unlock(&vm.telling);
	return n;
}

bool hk_vmwatch_forked(const struct hk_vmwatch *w)
{
	return w->generation != atomic_load_explicit(&vm.generation, memory_order_relaxed);
}

bool hk_vmwatch_private(const struct hk_vmwatch *w, uintptr_t base, uintptr_t end)
{
	const uint64_t there = UINT64_C(1) << 63, shared = UINT64_C(1) << 61;
	uint64_t pages[512];

	if (!w->open || hk_vmwatch_forked(w))
		return false;
	while (base < end) {
		size_t left = (end - base) / vm.page, n = left < 512 ? left : 512;

		if (pread(vm.pagemap, pages, n * sizeof(*pages),
			  (off_t)(base / vm.page * sizeof(*pages))) !=
		    (ssize_t)(n * sizeof(*pages)))
			return false;
		for (size_t i = 0; i < n; i++)
			if ((pages[i] & (there | shared)) != there)
				return false;
		base += n * vm.page;
	}
	return true;
}
