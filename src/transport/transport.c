/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What transports share: looking one up by name, and the named defaults that a transport puts into
 * its tables where it has nothing of its own to do. The table of transports itself is generated
 * (transport_table.c) from the list in meson.build.
 */
#include "transport.h"

#include <string.h>
#include <time.h>

/* Long enough to leave the core to others, short enough not to show beside a wake-up. */
#define NAP_NS 50000

const struct hk_transport *hk_transport_find(const char *name)
{
	for (unsigned i = 0; i < hk_ntransports; i++)
		if (!strcmp(hk_transports[i]->name, name))
			return hk_transports[i];
	return NULL;
}

void hk_arm_none(struct hk_endpoint *ep)
{
}

void hk_wait_nap(struct hk_endpoint *ep, int64_t timeout_ns)
{
	struct timespec nap = {0, NAP_NS};

	if (timeout_ns <= 0)
		return;
	if (timeout_ns < NAP_NS)
		nap.tv_nsec = timeout_ns;
	nanosleep(&nap, NULL);
}

int hk_flush_done(struct hk_send *s)
{
	return 1;
}
