/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public API: a call per message, as a user's program makes it. A stream one way is plain
 * calls; both ways at once needs groups, each of as many sends and receives as -m says.
 */
#include <errno.h>
#include <stdlib.h>

#include "link.h"

struct way {
	struct hk_lp_way way;
	hocketComm_t comm;
	uint8_t *in;
};

/* The library's sentence becomes this thread's, and its code an internal one. */
static int check(struct way *w, hocketResult_t res)
{
	if (res == hocketSuccess)
		return 0;
	return hk_fail_quiet(HK_EPEER, "%s: %s", hocketGetErrorString(res),
			     hocketGetLastError(w->comm));
}

static int send(struct way *w, size_t bytes)
{
	return check(w,
		     hocketSend(w->way.out, bytes, hocketUint8, w->way.run->peer, w->comm, NULL));
}

static int receive(struct way *w, size_t bytes)
{
	return check(w, hocketRecv(w->in, bytes, hocketUint8, w->way.run->peer, w->comm, NULL));
}

static int pass(struct hk_lp_way *way, size_t bytes)
{
	return send((struct way *)(void *)way, bytes);
}

static int await(struct hk_lp_way *way, size_t bytes)
{
	struct way *w = (struct way *)(void *)way;

	way->in = w->in;
	return receive(w, bytes);
}

/* n calls in one group. */
static int run_group(struct way *w, size_t bytes, unsigned n, bool out, bool in)
{
	int err = check(w, hocketGroupStart());

	for (unsigned i = 0; i < n && !err; i++) {
		if (out)
			err = send(w, bytes);
		if (in && !err)
			err = receive(w, bytes);
	}
	return err ? err : check(w, hocketGroupEnd());
}

static int stream(struct hk_lp_way *way, size_t bytes, unsigned n, bool out, bool in)
{
	struct way *w = (struct way *)(void *)way;
	unsigned group = (unsigned)way->run->options->group;
	int err = 0;

	if (group == 1 && out != in) {
		for (unsigned i = 0; i < n && !err; i++)
			err = out ? send(w, bytes) : receive(w, bytes);
		return err;
	}
	for (unsigned i = 0; i < n && !err; i += group)
		err = run_group(w, bytes, n - i < group ? n - i : group, out, in);
	return err;
}

static void close_way(struct hk_lp_way *w)
{
	free(w);
}

static const struct hk_lp_way_ops ops = {
	.pass = pass,
	.await = await,
	.stream = stream,
	.close = close_way,
};

int hk_lp_open_api(struct hk_lp_run *run, hocketComm_t comm, const struct hk_lp_buffers *b,
		   struct hk_lp_way **way)
{
	struct way *w = calloc(1, sizeof(*w));

	if (!w)
		return hk_fail(ENOMEM, "no memory for a way");
	w->way = (struct hk_lp_way){
		.ops = &ops, .run = run, .name = "api", .level = HK_LP_API, .out = b->out};
	w->comm = comm;
	w->in = b->in;
	*way = &w->way;
	return 0;
}
