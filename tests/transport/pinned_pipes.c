/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holds pages in pipes. They are first made present and writable, as registering with a device
 * does, and then put into pipes, at most 16 into each, which is what any pipe takes. tee copies
 * references to them into a second pipe, so that reading does not use them up. Ranges without a
 * page that the test touched are held too: only what is compared must have its numbers.
 */
#include "pinned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PER_PIPE 16u

struct pinned {
	struct hk_reg reg;
	unsigned npipes;
	int (*pipes)[2];
};

const bool pinned_in_child = true;

int pinned_open(void)
{
	return 0;
}

void pinned_drop(struct hk_reg *reg)
{
	struct pinned *p = (struct pinned *)reg;

	for (unsigned i = 0; i < p->npipes; i++) {
		close(p->pipes[i][0]);
		close(p->pipes[i][1]);
	}
	free(p->pipes);
	free(p);
}

static int hold(struct pinned *p, uint8_t *base, size_t bytes)
{
	p->pipes = calloc((bytes / PAGE + PER_PIPE - 1) / PER_PIPE, sizeof(*p->pipes));
	if (!p->pipes)
		return -ENOMEM;
	if (madvise(base, bytes, MADV_POPULATE_WRITE) < 0)
		return -errno;
	for (size_t at = 0; at < bytes; at += PER_PIPE * (size_t)PAGE) {
		size_t n = bytes - at < PER_PIPE * PAGE ? bytes - at : PER_PIPE * PAGE;
		struct iovec v = {base + at, n};

		if (pipe2(p->pipes[p->npipes], O_CLOEXEC | O_NONBLOCK) < 0)
			return -errno;
		p->npipes++;
		if (vmsplice(p->pipes[p->npipes - 1][1], &v, 1, 0) != (ssize_t)n)
			return -EFAULT;
	}
	return 0;
}

int pinned_hold(void *base, size_t bytes, struct hk_reg **reg)
{
	struct pinned *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	err = hold(p, base, bytes);
	if (err) {
		pinned_drop(&p->reg);
		return err;
	}
	*reg = &p->reg;
	return 0;
}

/* Reads what pipe number i of p holds. */
static int look(const struct pinned *p, unsigned i, uint8_t *pages, size_t bytes)
{
	int copy[2], err = -1;

	if (pipe2(copy, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	if (tee(p->pipes[i][0], copy[1], bytes, 0) == (ssize_t)bytes) {
		size_t done = 0;
		ssize_t n = 1;

		while (done < bytes && n > 0) {
			n = read(copy[0], pages + done, bytes - done);
			done += n > 0 ? (size_t)n : 0;
		}
		err = done == bytes ? 0 : -1;
	}
	close(copy[0]);
	close(copy[1]);
	return err;
}

static int compare(const struct pinned *p, const uint8_t *at, const uint8_t *end, uint8_t *pages)
{
	const struct hk_reg *r = &p->reg;
	unsigned looked = p->npipes;
	int stale = 0;

	for (; at < end; at += PAGE) {
		size_t page = ((uintptr_t)at - r->base) / PAGE;
		size_t start = page / PER_PIPE * PER_PIPE * PAGE;
		size_t n = r->bytes - start < PER_PIPE * PAGE ? r->bytes - start : PER_PIPE * PAGE;

		if (looked != page / PER_PIPE) {
			looked = (unsigned)(page / PER_PIPE);
			if (looked >= p->npipes || look(p, looked, pages, n) < 0)
				return -1;
		}
		stale += memcmp(pages + page % PER_PIPE * PAGE, at, sizeof(uint64_t)) != 0;
	}
	return stale;
}

int pinned_stale(const struct hk_reg *r, const void *at, size_t bytes)
{
	const uint8_t *first = (const uint8_t *)((uintptr_t)at / PAGE * PAGE);
	uint8_t *pages = malloc(PER_PIPE * PAGE);
	int stale = -1;

	if (pages)
		stale = compare((const struct pinned *)r, first, (const uint8_t *)at + bytes,
				pages);
	free(pages);
	return stale;
}
