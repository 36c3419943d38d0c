/* SPDX-License-Identifier: BSD-3-Clause */
/* Each call once, and what went wrong on standard error. */
#include "launch.h"

#include <stdio.h>

static int done(hocketResult_t result)
{
	if (result == hocketSuccess)
		return 0;
	fprintf(stderr, "%s\n", hocketLaunchGetLastError());
	return -1;
}

int hk_launch_open(struct hk_launch *l)
{
	return done(hocketLaunchOpen(&l->handle, &l->rank, &l->nprocs));
}

int hk_launch_share_id(const struct hk_launch *l, hocketUniqueId *id)
{
	return done(hocketLaunchShareId(l->handle, id));
}

void hk_launch_close(const struct hk_launch *l)
{
	hocketLaunchClose(l->handle);
}
