/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Serves one job (serve.h). The rank that commands this switch sends what to run; the switch builds
 * the plan of its own program of that algorithm, once, and runs it with the ordinary executor: it
 * has no IN and no OUT, only messages and a little SCRATCH. Between calls it sleeps.
 */
#include "serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric.h"
#include "switch_tree.h"

struct known_plan {
	uint32_t algo, channels;
	int root;
	struct hk_plan *plan;
};

struct server {
	struct hk_drive drive; /* waits for commands */
	struct hk_watch watch;
	struct hk_serving *serving;
	struct hk_comm *comm;
	struct hk_layout *layout;
	struct hk_recv *commands;
	struct known_plan *plans;
	uint32_t nplans;
};

/* --- joining --- */

static int join(struct hk_serving *s, struct hk_comm **comm)
{
	const struct hk_job *job = &s->job;
	struct hk_config config = {
		/* Whoever waits for a late rank should be the first to say so. */
		.timeout_ns = 2 * job->timeout_ms * (int64_t)1000000,
		.init_timeout_ms = job->init_timeout_ms,
		.channels = job->channels,
		.slots_asked = job->slots,
		.slot_bytes_asked = job->slot_bytes,
		.blocking = true,
		.fabric_ranks = (int)job->nranks,
	};
	struct hk_comm *c = NULL;
	int err;

	_Static_assert(sizeof(config.transports) >= sizeof(job->transports), "it fits");
	strcpy(config.transports, job->transports);
	err = hk_comm_new(&config, &c);
	if (!err)
		err = hk_boot_new(job->id, 1, (int)(job->nranks + job->nswitches),
				  (int)(job->nranks + job->index), config.init_timeout_ms,
				  &c->boot);
	if (!err)
		err = hk_comm_join(c);
	if (err) {
		if (c && c->boot)
			hk_boot_abort(c->boot, err);
		hk_comm_destroy(c);
		return err;
	}
	*comm = c;
	return 0;
}

/* Learns the tree. */
static int meet(struct server *v)
{
	const struct hk_job *job = &v->serving->job;
	size_t n = job->nranks + job->nswitches;
	struct hk_fabric_member *all = calloc(n, sizeof(*all));
	int *parent = calloc(n, sizeof(*parent)), err = -ENOMEM;

	if (!all || !parent) {
		hk_fail(ENOMEM, "no memory for a job of %zu participants", n);
		goto out;
	}
	all[v->comm->rank].parent = job->parent;
	memcpy(all[v->comm->rank].name, v->serving->name, sizeof(all->name));
	err = hk_boot_allgather(v->comm->boot, all, sizeof(*all));
	for (size_t i = 0; i < n && !err; i++)
		parent[i] = all[i].parent;
	if (!err)
		err = hk_layout_create((int)job->nranks, 0, NULL, &v->layout);
	if (!err)
		err = hk_layout_set_switches(v->layout, (int)job->nswitches, parent);
out:
	free(all);
	free(parent);
	return err;
}

/* --- commands --- */

static int poll_commands(struct hk_drive *d, bool *moved)
{
	struct server *v = (struct server *)d;
	const void *data;
	uint32_t bytes, mark;

	return v->commands->ops->peek(v->commands, &data, &bytes, &mark);
}

/* Jobs may rest as long as they like. */
static int never_expires(struct hk_drive *d)
{
	return 0;
}

static int watch_failed(struct hk_watch *w)
{
	struct server *v = (struct server *)(void *)((char *)w - offsetof(struct server, watch));

	return v->comm->watch.watch.failed(&v->comm->watch.watch);
}

/* Waits for the next command. */
static int next_command(struct server *v, struct hk_command *command)
{
	static const struct hk_drive_ops ops = {poll_commands, never_expires};
	const void *data = NULL;
	uint32_t bytes = 0, mark = 0;
	int err;

	v->watch = v->comm->watch.watch;
	v->watch.failed = watch_failed;
	v->watch.timeout_ns = INT64_MAX;
	v->drive = (struct hk_drive){&ops, &v->watch};
	err = hk_drive_run(&v->drive, &v->comm->stats);
	if (!err)
		err = v->commands->ops->peek(v->commands, &data, &bytes, &mark);
	if (err < 0)
		return err;
	if (!data || bytes != sizeof(*command) || mark != HK_COMMAND_CHANNEL)
		return hk_fail(HK_EWIRE, "rank %d sent a command of %u bytes that makes no sense",
			       v->commands->peer, bytes);
	memcpy(command, data, sizeof(*command));
	return v->commands->ops->release(v->commands);
}

static int check_command(const struct server *v, const struct hk_command *k, struct hk_problem *p)
{
	size_t limit = PTRDIFF_MAX / sizeof(uint64_t);

	if (k->kind == HK_COMMAND_RUN && k->algo < hk_nalgos && k->type < HK_NTYPES &&
	    k->op < HK_NREDOPS && k->channels >= 1 && k->channels <= 16 && k->root >= 0 &&
	    k->root < (int)v->serving->job.nranks && k->count <= limit) {
		*p = (struct hk_problem){.coll = hk_algos[k->algo]->coll,
					 .nranks = (int)v->serving->job.nranks,
					 .root = k->root,
					 .channels = k->channels,
					 .layout = v->layout};
		if (hk_algo_participants(hk_algos[k->algo], p) > p->nranks)
			return 0;
	}
	return hk_fail(HK_EWIRE,
		       "rank %d sent a command that makes no sense: kind %u, algorithm "
		       "%u, type %u, operation %u, root %d, %u channels",
		       v->commands->peer, k->kind, k->algo, k->type, k->op, k->root, k->channels);
}

static int find_plan(struct server *v, const struct hk_command *k, const struct hk_problem *p,
		     struct hk_plan **plan)
{
	struct known_plan *grown;
	uint32_t slot_bytes = v->comm->config.slot_bytes;
	struct hk_program *prog = NULL;
	int err;

	for (uint32_t i = 0; i < v->nplans; i++)
		if (v->plans[i].algo == k->algo && v->plans[i].channels == k->channels &&
		    v->plans[i].root == k->root) {
			*plan = v->plans[i].plan;
			return 0;
		}
	grown = realloc(v->plans, (v->nplans + 1) * sizeof(*grown));
	if (!grown)
		return hk_fail(ENOMEM, "no memory for plan %u", v->nplans);
	v->plans = grown;
	err = hk_algo_program(hk_algos[k->algo], p, v->comm->rank, true, &prog);
	if (!err)
		err = hk_plan_create(p, prog, &v->comm->binder.binder, slot_bytes,
				     v->comm->nt_bytes, plan);
	if (!err)
		v->plans[v->nplans++] = (struct known_plan){k->algo, k->channels, k->root, *plan};
	return err;
}

static int run_command(struct server *v, const struct hk_command *k)
{
	struct hk_call call = {.count = k->count,
			       .type = (enum hk_type)k->type,
			       .op = (enum hk_redop)k->op,
			       .mark = k->mark};
	struct hk_plan *plan = NULL;
	struct hk_problem p;
	int err = check_command(v, k, &p);

	if (!err)
		err = find_plan(v, k, &p, &plan);
	if (!err)
		err = hk_plan_run(plan, &call, &v->comm->watch.watch, &v->comm->stats);
	if (!err)
		atomic_fetch_add(&v->serving->calls, 1);
	return err;
}

static int serve_all(struct server *v)
{
	int commander = hk_switch_first_rank(v->layout, v->comm->rank), err;
	struct hk_command command;

	if (commander < 0)
		return 0; /* no rank of the job is below: nothing will ever come */
	err = v->comm->binder.binder.recv(&v->comm->binder.binder, commander, HK_COMMAND_CHANNEL,
					  &v->commands);
	while (!err) {
		err = next_command(v, &command);
		if (!err && command.kind == HK_COMMAND_END)
			return 0;
		if (!err)
			err = run_command(v, &command);
	}
	return err;
}

/* From here on, and until NULL comes, the communicator can be stopped. */
static void show(struct hk_serving *s, struct hk_comm *c)
{
	pthread_mutex_lock(&s->lock);
	s->comm = c;
	if (c && s->stop)
		atomic_store(&c->aborted, true);
	pthread_mutex_unlock(&s->lock);
}

void hk_serve_init(struct hk_serving *s)
{
	pthread_mutex_init(&s->lock, NULL);
	s->comm = NULL;
	s->stop = false;
	atomic_init(&s->calls, 0);
}

void hk_serve_destroy(struct hk_serving *s)
{
	pthread_mutex_destroy(&s->lock);
}

int hk_serve(struct hk_serving *s)
{
	struct server v = {.serving = s};
	int err = join(s, &v.comm);

	if (err)
		return err;
	show(s, v.comm);
	err = meet(&v);
	if (!err)
		err = serve_all(&v);
	if (err)
		hk_comm_fail(v.comm, err);
	show(s, NULL);
	for (uint32_t i = 0; i < v.nplans; i++)
		hk_plan_destroy(v.plans[i].plan);
	free(v.plans);
	hk_layout_free(v.layout);
	hk_comm_destroy(v.comm);
	return err;
}

void hk_serve_stop(struct hk_serving *s)
{
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	if (s->comm)
		atomic_store(&s->comm->aborted, true);
	pthread_mutex_unlock(&s->lock);
}
