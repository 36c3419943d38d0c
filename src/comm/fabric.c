/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fabric's life: finding the switches, handing the job over, joining them, the connections of
 * plans, the end. See fabric.h.
 */
#include "fabric.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "param.h"
#include "switch_tree.h"

#define END_NS 200000000 /* most that telling the switches of the end may take */

/* --- which switches --- */

static void spec_free(struct hk_fabric_spec *s)
{
	for (int i = 0; s->addresses && i < s->nswitches; i++)
		free(s->addresses[i]);
	free(s->addresses);
	free(s->parent);
}

static int spec_alloc(struct hk_fabric_spec *s, int nranks, int nswitches)
{
	*s = (struct hk_fabric_spec){.nswitches = nswitches};
	s->addresses = calloc((size_t)nswitches, sizeof(char *));
	s->parent = calloc((size_t)(nranks + nswitches), sizeof(int));
	if (s->addresses && s->parent)
		return 0;
	spec_free(s);
	return hk_fail(ENOMEM, "no memory for %d switches", nswitches);
}

/* From a list of addresses, with commas between them. */
static int spec_from_list(const char *list, int nranks, struct hk_fabric_spec *s)
{
	int n = 1, err;

	for (const char *p = list; *p; p++)
		n += *p == ',';
	if (n == 2 || n > HK_SWITCH_MAX)
		return hk_fail(
			EINVAL,
			"HOCKET_SWITCHES names %d switches; it must be one, or a top and two to "
			"%d others below it",
			n, HK_SWITCH_MAX - 1);
	if (n - 1 > nranks) {
		hk_log(HK_LOG_INFO, "%d ranks are too few for %d switches, and go without", nranks,
		       n);
		return 0;
	}
	err = spec_alloc(s, nranks, n);
	for (int i = 0; i < n && !err; i++) {
		size_t len = strcspn(list, ",");

		s->addresses[i] = strndup(list, len);
		list += len + 1;
		if (!s->addresses[i])
			err = hk_fail(ENOMEM, "no memory for %d addresses", n);
	}
	if (err)
		spec_free(s);
	else
		hk_layout_plain_tree(nranks, n, s->parent);
	return err;
}

/* From the layout, if a topology was given that has switches for these ranks. */
static int spec_from_layout(const struct hk_comm *c, int nswitches, struct hk_fabric_spec *s)
{
	int err;

	if (!c->switch_addresses || !nswitches)
		return 0;
	if (nswitches > HK_SWITCH_MAX) {
		hk_log(HK_LOG_WARN,
		       "the topology has %d switches for this job; jobs use %d or none", nswitches,
		       HK_SWITCH_MAX);
		return 0;
	}
	err = spec_alloc(s, c->nranks, nswitches);
	if (err)
		return err;
	memcpy(s->parent, c->layout->parent, (size_t)(c->nranks + nswitches) * sizeof(int));
	for (int i = 0; i < nswitches && !err; i++) {
		s->addresses[i] = strdup(c->switch_addresses[i]);
		if (!s->addresses[i])
			err = hk_fail(ENOMEM, "no memory for the addresses of switches");
	}
	if (err)
		spec_free(s);
	return err;
}

/* --- meeting --- */

/* Rank 0's word to the others. */
struct verdict {
	int32_t err;
	uint8_t id[HK_ID_BYTES];
};

/* On rank 0: makes the id, and gets the switches' consent. */
static int hand_over(struct hk_comm *c, const struct hk_fabric_spec *s, struct verdict *v,
		     struct hk_handover **h)
{
	struct hk_job o = {.nranks = (uint32_t)c->nranks,
			   .nswitches = (uint32_t)s->nswitches,
			   .timeout_ms = (uint32_t)(c->config.timeout_ns / 1000000),
			   .init_timeout_ms = (uint32_t)c->config.init_timeout_ms,
			   .channels = c->config.channels,
			   .slots = c->config.slots,
			   .slot_bytes = c->config.slot_bytes};
	struct hk_switch_key key;
	int err = 0;

	if (!s->key_path)
		return hk_fail(EINVAL, "HOCKET_SWITCH_KEY is not set: it names the file with the "
				       "secret that the switches know");
	if (strlen(c->config.transports) >= sizeof(o.transports))
		return hk_fail(EINVAL, "HOCKET_TRANSPORTS is too long");
	strcpy(o.transports, c->config.transports);
	err = hk_switch_key_read(s->key_path, &key);
	if (!err)
		err = hk_boot_unique_id(v->id);
	if (err)
		return err;
	memcpy(o.id, v->id, sizeof(o.id));
	err = hk_handover_begin(&key, &o, (const char *const *)s->addresses, s->parent + c->nranks,
				h);
	memset(&key, 0, sizeof(key));
	return err;
}

/* All ranks get rank 0's verdict. A failure is one of the communicator. */
static int share_verdict(struct hk_comm *c, struct verdict *v)
{
	struct verdict *all = calloc((size_t)c->nranks, sizeof(*all));
	int err;

	if (!all)
		return hk_fail(ENOMEM, "no memory for %d ranks", c->nranks);
	if (!c->rank)
		all[0] = *v;
	err = hk_boot_allgather(c->boot, all, sizeof(*all));
	*v = all[0];
	free(all);
	return err;
}

/* Whether all ranks are in: 0, or the first failure of any. */
static int all_well(struct hk_comm *c, int own, int *worst)
{
	int32_t *all = calloc((size_t)c->nranks, sizeof(*all));
	int err;

	if (!all)
		return hk_fail(ENOMEM, "no memory for %d ranks", c->nranks);
	all[c->rank] = own;
	err = hk_boot_allgather(c->boot, all, sizeof(*all));
	*worst = 0;
	for (int i = 0; i < c->nranks && !*worst; i++)
		*worst = all[i];
	free(all);
	return err;
}

/* Not for longer than handing over may take: a job without switches is better than one that waits
 * for them. */
static int join(struct hk_comm *c, const struct hk_fabric_spec *s, const struct verdict *v,
		struct hk_comm **peers)
{
	struct hk_config config = c->config;
	struct hk_comm *p = NULL;
	int err;

	config.fabric_ranks = c->nranks;
	config.switches = NULL;
	config.algorithms[0] = 0;
	if (config.init_timeout_ms > HK_HANDOVER_NS / 1000000)
		config.init_timeout_ms = HK_HANDOVER_NS / 1000000;
	err = hk_comm_new(&config, &p);
	if (!err)
		err = hk_boot_new(v->id, 1, c->nranks + s->nswitches, c->rank,
				  config.init_timeout_ms, &p->boot);
	if (!err)
		err = hk_comm_join(p);
	if (err) {
		if (p && p->boot)
			hk_boot_abort(p->boot, err);
		hk_comm_destroy(p);
		return err;
	}
	*peers = p;
	return 0;
}

/* Everyone says where it hangs, and switches how they are called. */
static int introduce(struct hk_fabric *f, const struct hk_comm *c, const struct hk_fabric_spec *s)
{
	size_t n = (size_t)(c->nranks + s->nswitches);
	struct hk_fabric_member *all = calloc(n, sizeof(*all));
	int err;

	if (!all)
		return hk_fail(ENOMEM, "no memory for %zu participants", n);
	all[c->rank].parent = s->parent[c->rank];
	err = hk_boot_allgather(f->peers->boot, all, sizeof(*all));
	for (size_t i = 0; i < n && !err; i++)
		if (all[i].parent != s->parent[i])
			err = hk_fail(HK_EUSAGE,
				      "participant %zu takes %d for the switch above it, and rank "
				      "%d takes %d: give all ranks the same HOCKET_SWITCHES or "
				      "topology file",
				      i, all[i].parent, c->rank, s->parent[i]);
	for (int i = 0; i < s->nswitches && !err; i++) {
		struct hk_fabric_member *m = &all[c->nranks + i];

		m->name[sizeof(m->name) - 1] = 0;
		if (asprintf(&f->names[i], "%s at %s", m->name, s->addresses[i]) < 0) {
			f->names[i] = NULL;
			err = hk_fail(ENOMEM, "no memory for the names of switches");
		}
	}
	free(all);
	return err;
}

/* Connects to the switches that this rank commands. */
static int take_command(struct hk_fabric *f, const struct hk_comm *c)
{
	int err = 0;

	f->commanded = calloc((size_t)f->nswitches, sizeof(*f->commanded));
	if (!f->commanded)
		return hk_fail(ENOMEM, "no memory for %d switches", f->nswitches);
	for (int i = 0; i < f->nswitches && !err; i++) {
		struct hk_binder *b = &f->peers->binder.binder;

		if (hk_switch_first_rank(c->layout, c->nranks + i) != c->rank)
			continue;
		err = b->send(b, c->nranks + i, HK_COMMAND_CHANNEL,
			      &f->commanded[f->ncommanded].conn);
		f->ncommanded += !err;
	}
	return err;
}

/* --- the connections of plans --- */

/* The communicator waits on the fabric's endpoints, too, from their first use on. */
static void wait_on(struct hk_comm *c, struct hk_endpoint *ep)
{
	unsigned *n = &c->watch.watch.nendpoints;

	for (unsigned i = 0; i < *n; i++)
		if (c->waits[i] == ep)
			return;
	c->waits[(*n)++] = ep;
}

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	struct hk_comm *c = ((struct hk_fabric_binder *)b)->comm;
	int err = hk_comm_bind_send(&c->fabric->peers->binder.binder, peer, channel, conn);

	if (!err)
		wait_on(c, (*conn)->ep);
	return err;
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	struct hk_comm *c = ((struct hk_fabric_binder *)b)->comm;
	int err = hk_comm_bind_recv(&c->fabric->peers->binder.binder, peer, channel, conn);

	if (!err)
		wait_on(c, (*conn)->ep);
	return err;
}

static int flush_commands(struct hk_send *send)
{
	struct hk_fabric *f = ((struct hk_fabric_flusher *)send)->fabric;

	return hk_fabric_push(f);
}

static int refuse_reserve(struct hk_send *s, uint32_t bytes, void **slot)
{
	return hk_fail(ENOTSUP, "commands have connections of their own");
}

static int refuse_commit(struct hk_send *s, uint32_t bytes, uint32_t mark)
{
	return hk_fail(ENOTSUP, "commands have connections of their own");
}

static const struct hk_send_ops flusher_ops = {
	.reserve = refuse_reserve,
	.commit = refuse_commit,
	.lends = hk_lends_never,
	.lend = hk_lend_none,
	.flush = flush_commands,
	.owes = hk_owes_none,
	.settle = hk_settle_flushed,
};

int hk_fabric_plan(struct hk_comm *c, const struct hk_problem *p, struct hk_program *prog,
		   uint32_t slot_bytes, struct hk_plan **plan)
{
	struct hk_fabric *f = c->fabric;
	int err = hk_plan_create(p, prog, &f->binder.binder, slot_bytes, c->nt_bytes, plan);

	if (err || !f->ncommanded)
		return err;
	err = hk_plan_also_flush(*plan, &f->flusher.send);
	if (err)
		hk_plan_destroy(*plan);
	return err;
}

/* --- life --- */

static void tell_end(struct hk_fabric *f)
{
	struct timespec nap = {0, 50000};
	int64_t deadline = hk_now_ns() + END_NS;

	if (f->dead)
		return;
	f->command = (struct hk_command){.kind = HK_COMMAND_END};
	for (unsigned i = 0; i < f->ncommanded; i++)
		f->commanded[i].pending = true;
	while (hk_fabric_push(f) == 0 && hk_now_ns() < deadline)
		nanosleep(&nap, NULL);
}

static void fabric_free(struct hk_fabric *f)
{
	hk_comm_destroy(f->peers);
	hk_plan_destroy(f->agreement);
	free(f->progress);
	for (int i = 0; f->names && i < f->nswitches; i++)
		free(f->names[i]);
	free(f->names);
	free(f->commanded);
	free(f);
}

/* Takes the switches out of what the communicator chooses from and waits on. */
static void detach(struct hk_comm *c)
{
	struct hk_comm *peers = c->fabric->peers;
	unsigned n = c->watch.watch.nendpoints, kept = 0;

	hk_comm_forget_fabric(c);
	c->layout->nswitches = 0;
	for (unsigned i = 0; i < n; i++) {
		bool theirs = false;

		for (unsigned k = 0; k < peers->nendpoints; k++)
			theirs |= peers->endpoints[k] == c->waits[i];
		if (!theirs)
			c->waits[kept++] = c->waits[i];
	}
	c->watch.watch.nendpoints = kept;
}

void hk_fabric_close(struct hk_comm *c)
{
	struct hk_fabric *f = c->fabric;

	if (!f)
		return;
	detach(c);
	c->fabric = NULL;
	if (f->peers) {
		/* After a failure of ours the switches need not wait for what will not come. */
		if (atomic_load(&c->failed))
			hk_boot_abort(f->peers->boot, atomic_load(&c->failed));
		else
			tell_end(f);
	}
	fabric_free(f);
}

size_t hk_fabric_memory(const struct hk_comm *c)
{
	return c->fabric ? sizeof(*c->fabric) + hk_comm_memory(c->fabric->peers) : 0;
}

static int build(struct hk_comm *c, const struct hk_fabric_spec *s, const struct verdict *v,
		 struct hk_fabric **out)
{
	struct hk_fabric *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return hk_fail(ENOMEM, "no memory for a fabric");
	f->nswitches = s->nswitches;
	f->binder = (struct hk_fabric_binder){{bind_send, bind_recv, 0}, c};
	f->flusher = (struct hk_fabric_flusher){{.ops = &flusher_ops}, f};
	f->names = calloc((size_t)s->nswitches, sizeof(char *));
	err = f->names ? join(c, s, v, &f->peers) : hk_fail(ENOMEM, "no memory for a fabric");
	if (!err)
		err = introduce(f, c, s);
	if (!err)
		err = take_command(f, c);
	if (err) {
		if (f->peers)
			hk_boot_abort(f->peers->boot, err);
		fabric_free(f);
		return err;
	}
	*out = f;
	return 0;
}

int hk_fabric_attach_to(struct hk_comm *c, const struct hk_fabric_spec *s, int *refused)
{
	struct hk_handover *h = NULL;
	struct verdict v = {0};
	struct hk_fabric *f = NULL;
	int err, mine = 0, worst = 0;

	if (!c->rank)
		v.err = hand_over(c, s, &v, &h);
	err = share_verdict(c, &v);
	hk_handover_end(h, !err && !v.err);
	if (!err && !v.err) {
		mine = hk_layout_set_switches(c->layout, s->nswitches, s->parent);
		if (!mine)
			mine = build(c, s, &v, &f);
		err = all_well(c, mine, &worst);
	}
	memset(&v.id, 0, sizeof(v.id));
	if (refused)
		*refused = v.err ? v.err : worst;
	if (!err && !v.err && !worst) {
		c->fabric = f;
		hk_log(HK_LOG_INFO, "rank %d has %d switch%s to reduce for it", c->rank,
		       s->nswitches, s->nswitches == 1 ? "" : "es");
		return 0;
	}
	if (f) {
		hk_boot_abort(f->peers->boot, -HK_EABORT);
		fabric_free(f);
	}
	c->layout->nswitches = 0;
	if (!err && !c->rank)
		hk_log(HK_LOG_WARN, "the job goes on without switches: %s",
		       v.err || mine ? hk_last_error() : "another rank's log says why");
	return err;
}

int hk_fabric_attach(struct hk_comm *c)
{
	int err, described = c->layout->nswitches;
	struct hk_fabric_spec spec = {0};

	c->layout->nswitches = 0; /* they have to be asked first */
	if (c->nranks < 2)
		return 0;
	if (c->config.switches)
		err = spec_from_list(c->config.switches, c->nranks, &spec);
	else
		err = spec_from_layout(c, described, &spec);
	if (err || !spec.nswitches)
		return err;
	spec.key_path = hk_param_str(HK_PARAM_SWITCH_KEY);
	err = hk_fabric_attach_to(c, &spec, NULL);
	spec_free(&spec);
	return err;
}
