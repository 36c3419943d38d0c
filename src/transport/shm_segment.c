/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes and maps the segments of the shared memory transport, and rings their bells; see shm.c for
 * what they are. */
#include "shm_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"

#define PAGE HK_SHM_PAGE

void __attribute__((cold)) hk_shm_ring(struct hk_shm_bell *bell)
{
	if (atomic_exchange_explicit(&bell->armed, 0, memory_order_acq_rel))
		syscall(SYS_futex, &bell->armed, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int hk_shm_create(size_t regions, size_t region_bytes, int *out, struct hk_shm_bell **bell)
{
	size_t bytes = PAGE + regions * region_bytes;
	int fd, err;
	void *p;

	fd = memfd_create("hocket", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return hk_fail(errno, "memfd_create failed: %s; shared memory can't be used",
			       strerror(errno));
	/* Sealed against shrinking, so that no peer can make another's access fault. */
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		err = hk_fail(errno, "a shared memory segment of %zu bytes was refused: %s", bytes,
			      strerror(errno));
		goto close_fd;
	}
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		err = hk_fail(errno, "mapping shared memory failed: %s", strerror(errno));
		goto close_fd;
	}
	*out = fd;
	*bell = p;
	return 0;
close_fd:
	close(fd);
	return err;
}

int hk_shm_map_bell(int fd, int peer, size_t regions, size_t region_bytes,
		    struct hk_shm_bell **bell)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0 || (size_t)st.st_size < PAGE + regions * region_bytes)
		return hk_fail(HK_EWIRE,
			       "rank %d's shared memory segment is too small; do all ranks have "
			       "the same HOCKET_SLOTS and HOCKET_SLOT_BYTES?",
			       peer);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return hk_fail(errno, "mapping rank %d's memory failed: %s", peer, strerror(errno));
	*bell = p;
	return 0;
}

int hk_shm_map_region(int fd, size_t index, size_t region_bytes, struct hk_shm_region *region)
{
	void *p = mmap(NULL, region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		       (off_t)(PAGE + index * region_bytes));

	if (p == MAP_FAILED)
		return hk_fail(errno, "mapping %zu bytes of shared memory failed: %s", region_bytes,
			       strerror(errno));
	region->base = p;
	region->slots = region->base + PAGE;
	return 0;
}
