/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rank 0 hands a job over to switches: it dials each, offers the job, and when all have agreed
 * tells all to join. A switch that hears nothing more before its connection closes has not been
 * hired, so a job never has some of its switches only. See job.h.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "job.h"

#define REFUSED_NS (1000 * HK_BOOT_MS) /* a switch is there before its jobs are */

struct hk_handover {
	unsigned n;
	struct hk_session sessions[HK_SWITCH_MAX];
};

static int offer_to(const struct hk_switch_key *key, const struct hk_job *o, const char *address,
		    int64_t deadline, struct hk_session *s)
{
	uint8_t sealed[HK_JOB_BYTES], buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_reader r = {.buf = buf, .cap = sizeof(buf), .fd = -1};
	struct hk_boot_key door;
	char whom[300];
	struct hk_frame f;
	struct hk_call call = {
		.key = &door,
		.hello = {.purpose = HK_FOR_SERVE, .dst = HK_BOOT_ROOT, .nranks = 1},
		.deadline = deadline,
		.failfd = -1,
		.refused_ns = REFUSED_NS,
		.whom = whom,
		.remedy = "does `hocket switch` run there, with the key that HOCKET_SWITCH_KEY "
			  "names?",
	};
	int err = hk_switch_resolve(address, call.addr);

	if (err)
		return err;
	memcpy(door.bytes, key->door, sizeof(door.bytes));
	snprintf(whom, sizeof(whom), "the switch %s", address);
	err = hk_dial(&call, s);
	if (!err) {
		hk_job_seal(key, o, sealed);
		/* Whatever hinders it shows at once in the answer. */
		hk_frame_send(s, HK_FRAME_JOB, sealed, sizeof(sealed), deadline, -1);
		err = hk_dial_reply(&call, s, &r, HK_FRAME_OK, &f);
		if (err)
			hk_session_close(s);
	}
	sodium_memzero(&door, sizeof(door));
	return err;
}

int hk_handover_begin(const struct hk_switch_key *key, const struct hk_job *o,
		      const char *const *addresses, const int *parent, struct hk_handover **out)
{
	struct hk_handover *h = calloc(1, sizeof(*h));
	int64_t deadline = hk_now_ns() + HK_HANDOVER_NS;
	struct hk_job one = *o;
	int err = 0;

	if (!h)
		return hk_fail(ENOMEM, "no memory for handing over to %u switches", o->nswitches);
	if (o->init_timeout_ms * HK_BOOT_MS < HK_HANDOVER_NS)
		deadline = hk_now_ns() + o->init_timeout_ms * HK_BOOT_MS;
	while (h->n < o->nswitches && !err) {
		one.index = h->n;
		one.parent = parent[h->n];
		err = offer_to(key, &one, addresses[h->n], deadline, &h->sessions[h->n]);
		h->n += !err;
	}
	sodium_memzero(&one, sizeof(one));
	if (err) {
		hk_handover_end(h, false);
		return err;
	}
	*out = h;
	return 0;
}

void hk_handover_end(struct hk_handover *h, bool go)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->n; i++) {
		/* One that does not hear it will be missed when all are to join. */
		if (go)
			hk_frame_send(&h->sessions[i], HK_FRAME_OK, NULL, 0,
				      hk_now_ns() + HK_HANDOVER_NS, -1);
		hk_session_close(&h->sessions[i]);
	}
	free(h);
}
