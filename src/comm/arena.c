/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of hocketMemAlloc: blocks of one large sparse memfd, each mapped shared on its own. A
 * peer that gets the file's descriptor once can map any block, also one made later; and freeing a
 * block punches a hole, which gives its pages back even while a peer still has them mapped. Where
 * such a file can't be had, blocks are ordinary memory, which nobody can map, and everything else
 * works as ever.
 *
 * Blocks are not inherited by fork: a child that wrote to one would change what its parent sends.
 */
#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"

#define PAGE	  ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)
#define FILE_BYTES                                                                                 \
	((uint64_t)1 << 42) /* of address space in the file; pages exist when touched              \
			     */

struct block {
	struct block *next; /* by offset; those outside of the file come first */
	void *base;
	size_t bytes;
	uint64_t offset;
	bool in_file;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;
static int file = -1;
static bool file_tried;

/* Under the lock. */
static void open_file(void)
{
	if (file_tried)
		return;
	file_tried = true;
	file = memfd_create("hocket-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file < 0)
		return;
	if (ftruncate(file, (off_t)FILE_BYTES) < 0 || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		hk_log(HK_LOG_INFO, "no file for registered memory: %s", strerror(errno));
		close(file);
		file = -1;
	}
}

/* The first gap that is large enough, and the link to put a block there. Under the lock. */
static bool find_gap(size_t bytes, size_t align, uint64_t *offset, struct block ***link)
{
	uint64_t at = 0;
	struct block **l = &blocks;

	for (;; l = &(*l)->next) {
		uint64_t end;

		while (*l && !(*l)->in_file)
			l = &(*l)->next;
		end = *l ? (*l)->offset : FILE_BYTES;
		at = (at + align - 1) / align * align;
		if (at < end && bytes <= end - at) {
			*offset = at;
			*link = l;
			return true;
		}
		if (!*l)
			return false;
		at = (*l)->offset + (*l)->bytes;
	}
}

/* Under the lock. */
static int map_block(struct block *b)
{
	struct block **link = &blocks;

	open_file();
	b->in_file = file >= 0 && find_gap(b->bytes, b->bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE,
					   &b->offset, &link);
	if (b->in_file)
		b->base = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file,
			       (off_t)b->offset);
	else
		b->base = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
	if (b->base == MAP_FAILED)
		return -errno;
	/* Wishes; what is refused costs speed only. */
	if (b->bytes >= HUGE_PAGE)
		madvise(b->base, b->bytes, MADV_HUGEPAGE);
	if (b->in_file)
		madvise(b->base, b->bytes, MADV_DONTFORK);
	b->next = *link;
	*link = b;
	return 0;
}

int hk_arena_alloc(size_t bytes, void **ptr)
{
	size_t whole = bytes ? (bytes + PAGE - 1) / PAGE * PAGE : PAGE;
	struct block *b;
	int err;

	if (whole < bytes)
		return hk_fail_quiet(EOVERFLOW, "%zu bytes are too many", bytes);
	b = calloc(1, sizeof(*b));
	if (!b)
		return hk_fail(ENOMEM, "no memory for a block of %zu bytes", bytes);
	b->bytes = whole;
	pthread_mutex_lock(&lock);
	err = map_block(b);
	pthread_mutex_unlock(&lock);
	if (err) {
		free(b);
		return hk_fail(-err, "no memory for %zu bytes: %s", bytes, strerror(-err));
	}
	*ptr = b->base;
	return 0;
}

int hk_arena_free(void *ptr)
{
	struct block *b = NULL;

	pthread_mutex_lock(&lock);
	for (struct block **l = &blocks; *l; l = &(*l)->next) {
		if ((*l)->base != ptr)
			continue;
		b = *l;
		*l = b->next;
		munmap(b->base, b->bytes);
		if (b->in_file && fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					    (off_t)b->offset, (off_t)b->bytes) < 0)
			hk_log(HK_LOG_WARN, "freed memory could not be given back: %s",
			       strerror(errno));
		break;
	}
	pthread_mutex_unlock(&lock);
	free(b);
	return b ? 0 : -EINVAL;
}

bool hk_arena_find(const void *ptr, size_t bytes, struct hk_memory *block)
{
	uintptr_t at = (uintptr_t)ptr;
	bool found = false;

	pthread_mutex_lock(&lock);
	for (struct block *b = blocks; b && !found; b = b->next) {
		uintptr_t base = (uintptr_t)b->base;

		found = b->in_file && at >= base && at - base < b->bytes &&
			bytes <= b->bytes - (at - base);
		if (found)
			*block = (struct hk_memory){b->base, b->bytes, file, b->offset};
	}
	pthread_mutex_unlock(&lock);
	return found;
}
