/* SPDX-License-Identifier: BSD-3-Clause */
/* A call's way through switches, and what happens when one of them dies. See fabric.h. */
#include "fabric.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CAUSE_NAPS 60 /* of 5 ms each */

/* --- commands --- */

/* One message, if there is a slot. */
static int send_command(struct hk_send *conn, const struct hk_command *command)
{
	void *slot = NULL;
	int r = conn->ops->reserve(conn, sizeof(*command), &slot);

	if (r <= 0)
		return r;
	memcpy(slot, command, sizeof(*command));
	r = conn->ops->commit(conn, sizeof(*command), HK_COMMAND_CHANNEL);
	return r < 0 ? r : 1;
}

int hk_fabric_push(struct hk_fabric *f)
{
	bool all = true;

	for (unsigned i = 0; i < f->ncommanded; i++) {
		struct hk_commanded *to = &f->commanded[i];
		int r = 1;

		if (to->pending)
			r = send_command(to->conn, &f->command);
		if (r < 0)
			return r;
		to->pending = !r;
		if (r)
			r = to->conn->ops->flush(to->conn);
		if (r < 0)
			return r;
		all &= r == 1;
	}
	return all;
}

int hk_fabric_announce(struct hk_comm *c, int root, const struct hk_call *call)
{
	struct hk_fabric *f = c->fabric;
	uint32_t index = 0;
	int r;

	if (!f->inside || !f->ncommanded)
		return 0;
	while (hk_algos[index] != f->choice.algo)
		index++;
	f->command = (struct hk_command){.kind = HK_COMMAND_RUN,
					 .algo = index,
					 .type = call->type,
					 .op = call->op,
					 .mark = call->mark,
					 .channels = f->choice.channels,
					 .root = root,
					 .count = call->count};
	/* The last call ended when its command had left, so nothing is pending. */
	for (unsigned i = 0; i < f->ncommanded; i++)
		f->commanded[i].pending = true;
	c->stats.messages += f->ncommanded;
	c->stats.bytes += f->ncommanded * sizeof(f->command);
	r = hk_fabric_push(f);
	return r < 0 ? r : 0;
}

/* --- failure --- */

/* The fabric is no more; makes the sentence for all calls that fail by it. */
static void bury(struct hk_fabric *f, int nranks, int who, int code)
{
	const char *name =
		who >= nranks && who - nranks < f->nswitches ? f->names[who - nranks] : "(unknown)";

	f->dead = true;
	if (code)
		snprintf(f->why, sizeof(f->why),
			 "the switch %s gave up (%s; its own log says why): the calls that needed "
			 "it "
			 "fail on all ranks, the next ones go without switches",
			 name, hk_code_name(code));
	else
		snprintf(f->why, sizeof(f->why),
			 "the switch %s died or was cut off: the calls that needed it fail on all "
			 "ranks, the next ones go without switches",
			 name);
}

/* Looks whether a switch has failed. 0: no; -HK_ESWITCH: yes, without a sentence; or the failure of
 * a rank, with one. */
static int examine(struct hk_comm *c)
{
	struct hk_fabric *f = c->fabric;
	const char *text;
	int who = 0, code = 0, err;

	if (f->dead)
		return -HK_ESWITCH;
	err = hk_boot_failed(f->peers->boot, &text);
	if (!err)
		return 0;
	hk_boot_failure(f->peers->boot, &who, &code);
	if (who < c->nranks) {
		hk_set_last_error(text);
		return err;
	}
	/* A switch sees, as a rank does, that calls do not match: that is not its failure. */
	if (code == -HK_EMISMATCH)
		return hk_fail(HK_EMISMATCH,
			       "the switch %s found that ranks made different calls; all ranks "
			       "must make the same calls in the same order",
			       f->names[who - c->nranks]);
	bury(f, c->nranks, who, code);
	return -HK_ESWITCH;
}

int hk_fabric_failed(struct hk_comm *c)
{
	struct hk_fabric *f = c->fabric;
	int err = examine(c), r;

	if (!err && f->inside)
		r = hk_fabric_push(f);
	else
		r = err == -HK_ESWITCH ? hk_fabric_agree(c) : 0;
	if (r < 0)
		return r;
	if (!f->inside)
		return 0; /* a rank's failure is the communicator's own to find */
	return err == -HK_ESWITCH ? hk_fail(HK_ESWITCH, "%s", f->why) : err;
}

/* A connection may break before the bootstrap's word of a death is here, which tells whose. */
int hk_fabric_judge(struct hk_comm *c, int err)
{
	struct timespec nap = {0, 5000000};

	if (!c->fabric->inside || (err != -HK_EPEER && err != -HK_EWIRE))
		return err;
	for (int i = 0; i < CAUSE_NAPS && !hk_boot_failed(c->boot, NULL); i++) {
		int cause = examine(c);

		if (cause == -HK_ESWITCH)
			return hk_fail(HK_ESWITCH, "%s", c->fabric->why);
		if (cause)
			return cause;
		nanosleep(&nap, NULL);
	}
	return err;
}

/* --- the beginning of a call --- */

void hk_fabric_stay_out(struct hk_comm *c)
{
	c->fabric->inside = false;
}

int hk_fabric_enter(struct hk_comm *c)
{
	struct hk_fabric *f = c->fabric;
	int err = examine(c);

	f->inside = false;
	f->calls++;
	if (err && err != -HK_ESWITCH)
		return err;
	if (!err) {
		f->inside = true;
		f->attempted = f->calls;
		return 0;
	}
	err = hk_fabric_await_agreement(c);
	if (err)
		return err;
	if (f->calls <= f->until)
		return hk_fail(HK_ESWITCH, "%s", f->why);
	hk_log(HK_LOG_WARN, "rank %d goes on without switches: %s", c->rank, f->why);
	hk_fabric_close(c);
	return 1;
}
