/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole reducer in one file, to read before writing one and for tests: its "hardware" is memory
 * that the members share because they are threads of one process. Members with the same key find
 * each other in a list. A round is made by the first to contribute to it or by nobody else before,
 * keeps a copy of each contribution until all are there, is then folded in the order of the
 * members, and goes when all receivers have released its result. One lock a group: this is no model
 * of speed.
 *
 * What holds a member back is the number of rounds that it contributed to and that are still there.
 * That cannot become a deadlock: all rounds before the oldest incomplete one are complete, so their
 * receivers can take their results, and then nothing holds back whom that one waits for.
 */
#include "reducer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define FAN_IN	    16
#define PAYLOAD	    (1u << 20)
#define OUTSTANDING 4
#define CALLS	    16 /* more than a member can be ahead of another */

struct device {
	struct hk_reducer_device base;
	struct hk_reducer_env env;
};

struct call {
	uint64_t number; /* from 1 on */
	struct hk_reduce_call what;
};

struct round {
	struct round *next;
	struct call call;
	uint64_t number;
	uint32_t bytes, mark;
	uint32_t given, wanted, left; /* contributions; results still to be released */
	uint8_t *parts[FAN_IN];
	bool folded; /* the result is in the first contributor's part */
	uint8_t *result;
};

struct seat {
	struct hk_reduce_group base;
	struct shared *shared;
	struct call call;
	uint64_t to_post, to_poll; /* where to look for its next rounds */
	uint32_t outstanding;
	struct round *held; /* peeked */
};

struct shared {
	struct shared *next;
	pthread_mutex_t lock;
	uint8_t key[16];
	uint32_t members, seated;
	struct seat *seats[FAN_IN];
	struct call calls[CALLS]; /* as announced */
	struct round *rounds;
	bool left; /* by one of the members: no round will be complete again */
	int error;
};

/* The groups of this process, and who is in them. */
static pthread_mutex_t groups_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared *groups;

extern const struct hk_reducer hk_reducer_example;

/* --- rounds --- */

static struct round *find_round(struct shared *s, uint64_t call, uint64_t number)
{
	for (struct round *r = s->rounds; r; r = r->next)
		if (r->call.number == call && r->number == number)
			return r;
	return NULL;
}

static struct round *make_round(struct shared *s, const struct call *call, uint64_t number,
				uint32_t bytes, uint32_t mark)
{
	struct round *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct round){
		.next = s->rounds, .call = *call, .number = number, .bytes = bytes, .mark = mark};
	for (uint32_t m = 0; m < s->members; m++) {
		r->wanted += hk_reduce_contributes(&call->what, s->members, m, number);
		r->left += hk_reduce_receives(&call->what, s->members, m, number);
	}
	s->rounds = r;
	return r;
}

static void free_round(struct shared *s, struct round *r)
{
	struct round **link = &s->rounds;

	while (*link != r)
		link = &(*link)->next;
	*link = r->next;
	for (uint32_t m = 0; m < s->members; m++) {
		if (r->parts[m] && s->seats[m])
			s->seats[m]->outstanding--;
		free(r->parts[m]);
	}
	free(r);
}

/* All contributions are there. */
static void fold(const struct device *d, const struct shared *s, struct round *r)
{
	const struct hk_reduce_call *c = &r->call.what;
	size_t n = r->bytes / hk_type_size(c->type);

	for (uint32_t m = 0; m < s->members; m++) {
		if (!r->parts[m])
			continue;
		if (!r->result)
			r->result = r->parts[m];
		else if (c->coll != HK_BARRIER && n)
			d->env.reduce(c->type, c->op, r->result, r->result, r->parts[m], n);
	}
	r->folded = true;
}

/* --- what members do; under the group's lock --- */

static int fail_group(struct shared *s, int code)
{
	s->error = -code;
	return -code;
}

static int contribute(struct seat *t, uint64_t number, const void *data, uint32_t bytes,
		      uint32_t mark)
{
	struct shared *s = t->shared;
	struct round *r = find_round(s, t->call.number, number);
	uint32_t me = t->base.member;

	if (!r)
		r = make_round(s, &t->call, number, bytes, mark);
	if (!r)
		return fail_group(s, ENOMEM);
	if (r->bytes != bytes || r->mark != mark) {
		hk_fail_quiet(HK_EMISMATCH,
			      "member %u posts %u bytes, mark %08x, to a round of %u, mark %08x",
			      me, bytes, mark, r->bytes, r->mark);
		return fail_group(s, HK_EMISMATCH);
	}
	r->parts[me] = malloc(bytes ? bytes : 1);
	if (!r->parts[me])
		return fail_group(s, ENOMEM);
	if (bytes)
		memcpy(r->parts[me], data, bytes);
	t->outstanding++;
	if (++r->given == r->wanted)
		fold((struct device *)t->base.dev, s, r);
	return 1;
}

static int post_locked(struct seat *t, const void *data, uint32_t bytes, uint32_t mark)
{
	struct shared *s = t->shared;
	uint64_t number = t->to_post;
	int r;

	if (s->error)
		return hk_fail_quiet(-s->error, "an earlier call of this group failed");
	if (!t->call.number)
		return hk_fail_quiet(EINVAL, "a post before any call has begun");
	if (bytes > PAYLOAD || bytes % hk_type_size(t->call.what.type))
		return hk_fail_quiet(EINVAL, "a post of %u bytes; it may be %u, and whole elements",
				     bytes, PAYLOAD);
	if (s->left)
		return hk_fail_quiet(HK_EPEER, "a member has left this group");
	while (number < t->to_post + s->members &&
	       !hk_reduce_contributes(&t->call.what, s->members, t->base.member, number))
		number++;
	if (number == t->to_post + s->members)
		return hk_fail_quiet(EINVAL, "member %u has nothing to contribute to this %s",
				     t->base.member, hk_coll_name(t->call.what.coll));
	if (t->outstanding >= OUTSTANDING)
		return 0;
	r = contribute(t, number, data, bytes, mark);
	if (r > 0)
		t->to_post = number + 1;
	return r;
}

static int poll_locked(struct seat *t, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct shared *s = t->shared;
	uint64_t number = t->to_poll;

	if (s->error)
		return hk_fail_quiet(-s->error, "an earlier call of this group failed");
	if (!t->held && t->call.number) {
		struct round *r;

		while (number < t->to_poll + s->members &&
		       !hk_reduce_receives(&t->call.what, s->members, t->base.member, number))
			number++;
		r = find_round(s, t->call.number, number);
		t->held = r && r->folded ? r : NULL;
	}
	if (!t->held)
		return s->left ? hk_fail_quiet(HK_EPEER, "a member has left this group") : 0;
	*data = t->held->result;
	*bytes = t->held->bytes;
	*mark = t->held->mark;
	return 1;
}

static int release_locked(struct seat *t)
{
	struct round *r = t->held;

	if (!r)
		return hk_fail_quiet(EINVAL, "a release without a result");
	t->held = NULL;
	t->to_poll = r->number + 1;
	if (--r->left == 0)
		free_round(t->shared, r);
	return 0;
}

static int begin_locked(struct seat *t, const struct hk_reduce_call *what)
{
	struct shared *s = t->shared;
	struct call next = {t->call.number + 1, *what};
	struct call *known = &s->calls[next.number % CALLS];

	if (s->error)
		return hk_fail_quiet(-s->error, "an earlier call of this group failed");
	if (t->held)
		return hk_fail_quiet(EINVAL, "a call begins before a result is released");
	if (known->number < next.number)
		*known = next;
	if (known->number == next.number &&
	    (known->what.coll != what->coll || known->what.type != what->type ||
	     known->what.op != what->op || known->what.root != what->root)) {
		hk_fail_quiet(HK_EMISMATCH, "member %u begins %s where another began %s",
			      t->base.member, hk_coll_name(what->coll),
			      hk_coll_name(known->what.coll));
		return fail_group(s, HK_EMISMATCH);
	}
	t->call = next;
	t->to_post = t->to_poll = 0;
	return 0;
}

/* --- the contract --- */

static struct seat *seat_of(struct hk_reduce_group *g)
{
	return (struct seat *)g;
}

static int example_open(const struct hk_reducer_env *env, struct hk_reducer_device **dev)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return hk_fail(ENOMEM, "no memory for a reducer");
	d->base.reducer = &hk_reducer_example;
	d->env = *env;
	*dev = &d->base;
	return 0;
}

static void example_caps(struct hk_reducer_device *dev, struct hk_reducer_caps *caps)
{
	*caps = hk_software_switch_caps;
	caps->fan_in = FAN_IN;
	caps->payload = PAYLOAD;
	caps->outstanding = OUTSTANDING;
}

/* The group with this key, made if there is none. Under groups_lock. */
static int find_group(const struct hk_reduce_meeting *m, struct shared **out)
{
	struct shared *s = groups;

	while (s && memcmp(s->key, m->key, sizeof(s->key)))
		s = s->next;
	if (s && (s->members != m->members || s->seats[m->member] || s->left))
		return hk_fail_quiet(EEXIST,
				     "member %u of %u is in this group already, or it has %u "
				     "members, or is ending",
				     m->member, m->members, s->members);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return hk_fail(ENOMEM, "no memory for a group");
		memcpy(s->key, m->key, sizeof(s->key));
		s->members = m->members;
		pthread_mutex_init(&s->lock, NULL);
		s->next = groups;
		groups = s;
	}
	*out = s;
	return 0;
}

static int example_create(struct hk_reducer_device *dev, const struct hk_reduce_meeting *m,
			  struct hk_reduce_group **group)
{
	struct shared *s = NULL;
	struct seat *t;
	int err;

	if (m->members < 2 || m->members > FAN_IN || m->member >= m->members)
		return hk_fail_quiet(EINVAL, "member %u of %u: this reducer takes 2 to %d members",
				     m->member, m->members, FAN_IN);
	t = calloc(1, sizeof(*t));
	if (!t)
		return hk_fail(ENOMEM, "no memory for a member");
	pthread_mutex_lock(&groups_lock);
	err = find_group(m, &s);
	if (!err) {
		t->base = (struct hk_reduce_group){&hk_reducer_example, dev, m->members, m->member};
		t->shared = s;
		pthread_mutex_lock(&s->lock);
		s->seats[m->member] = t;
		s->seated++;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&groups_lock);
	if (err)
		free(t);
	else
		*group = &t->base;
	return err;
}

/* Nobody is in it any more. Under groups_lock. */
static void free_group(struct shared *s)
{
	struct shared **link = &groups;

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	while (s->rounds)
		free_round(s, s->rounds);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void example_destroy(struct hk_reduce_group *g)
{
	struct seat *t = seat_of(g);
	struct shared *s;
	bool last;

	if (!g)
		return;
	s = t->shared;
	pthread_mutex_lock(&groups_lock);
	pthread_mutex_lock(&s->lock);
	s->seats[g->member] = NULL;
	s->left = true;
	last = --s->seated == 0;
	pthread_mutex_unlock(&s->lock);
	if (last)
		free_group(s);
	pthread_mutex_unlock(&groups_lock);
	free(t);
}

static int example_begin(struct hk_reduce_group *g, const struct hk_reduce_call *call)
{
	struct hk_reducer_caps caps;
	struct shared *s = seat_of(g)->shared;
	int err;

	example_caps(g->dev, &caps);
	err = hk_reducer_covers(g->reducer, &caps, g->members, call);
	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	err = begin_locked(seat_of(g), call);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int example_post(struct hk_reduce_group *g, const void *data, uint32_t bytes, uint32_t mark)
{
	struct shared *s = seat_of(g)->shared;
	int r;

	pthread_mutex_lock(&s->lock);
	r = post_locked(seat_of(g), data, bytes, mark);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int example_poll(struct hk_reduce_group *g, const void **data, uint32_t *bytes,
			uint32_t *mark)
{
	struct shared *s = seat_of(g)->shared;
	int r;

	pthread_mutex_lock(&s->lock);
	r = poll_locked(seat_of(g), data, bytes, mark);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int example_release(struct hk_reduce_group *g)
{
	struct shared *s = seat_of(g)->shared;
	int r;

	pthread_mutex_lock(&s->lock);
	r = release_locked(seat_of(g));
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Memory does not fail without the process noticing. */
static int example_health(struct hk_reducer_device *dev)
{
	return 0;
}

static void example_close(struct hk_reducer_device *dev)
{
	free(dev);
}

const struct hk_reducer hk_reducer_example = {
	.name = "example",
	.open = example_open,
	.caps = example_caps,
	.create = example_create,
	.destroy = example_destroy,
	.begin = example_begin,
	.post = example_post,
	.poll = example_poll,
	.release = example_release,
	.health = example_health,
	.close = example_close,
};
