/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the cache calls to register. It notes what it was asked for; it plays device memory, of
 * which there is nothing to hold; and it leaves the pages of host memory to pinned_hold.
 */
#include "pinned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int add(void *arg, const struct hk_reg_range *range, struct hk_reg **reg)
{
	struct pinned_device *d = arg;
	int err = 0;

	d->adds++;
	if ((d->fail_above && range->bytes > d->fail_above) ||
	    (d->most_locked && d->locked + range->bytes > d->most_locked))
		return -ENOMEM;
	if (!range->device)
		err = pinned_hold(range->base, range->bytes, reg);
	else
		*reg = calloc(1, sizeof(**reg));
	if (err)
		return err;
	d->base = (uintptr_t)range->base;
	d->bytes = range->bytes;
	d->offset = range->dmabuf_fd >= 0 ? range->dmabuf_offset : UINT64_MAX;
	d->locked += range->bytes;
	d->live++;
	return 0;
}

static void remove_reg(void *arg, struct hk_reg *reg)
{
	struct pinned_device *d = arg;

	d->removes++;
	d->locked -= reg->bytes;
	d->live--;
	if (reg->from == HK_REG_DEVICE)
		free(reg);
	else
		pinned_drop(reg);
}

static bool find_device(void *arg, const void *at, struct hk_device_memory *memory)
{
	struct pinned_device *d = arg;

	if ((uintptr_t)at - d->memory.base >= d->memory.bytes)
		return false;
	*memory = d->memory;
	return true;
}

static int export_device(void *arg, const struct hk_device_memory *memory, int *dmabuf_fd)
{
	struct pinned_device *d = arg;

	if (d->no_dmabufs) {
		*dmabuf_fd = -1;
		return 0;
	}
	d->open_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (d->open_fd < 0)
		return -errno;
	d->exports++;
	*dmabuf_fd = d->open_fd;
	return 0;
}

const struct hk_reg_ops pinned_ops = {.add = add, .remove = remove_reg};
const struct hk_reg_ops pinned_device_ops = {
	.add = add,
	.remove = remove_reg,
	.find_device = find_device,
	.export_device = export_device,
};
