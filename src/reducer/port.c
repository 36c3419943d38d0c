/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports (port.h): a staging slot in front of post, and poll as it is. A message that the reducer
 * does not take at once stays in the slot and is posted by the next look at it; until then the slot
 * is not free, so the sender is held back as by any connection.
 */
#include "port.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"

#define LINE 64u

struct hk_reduce_port {
	struct hk_send send;
	struct hk_recv recv;
	struct hk_endpoint ep;
	struct hk_reduce_group *group;
	uint8_t *slot;
	uint32_t bytes, mark;
	bool waiting; /* the slot holds a message that has not been posted */
	bool reserved;
	int error;
};

static struct hk_reduce_port *of_send(struct hk_send *s)
{
	return (struct hk_reduce_port *)(void *)((char *)s - offsetof(struct hk_reduce_port, send));
}

static struct hk_reduce_port *of_recv(struct hk_recv *r)
{
	return (struct hk_reduce_port *)(void *)((char *)r - offsetof(struct hk_reduce_port, recv));
}

/* 1: nothing waits any more; 0: the reducer does not take it yet. */
static int push(struct hk_reduce_port *p)
{
	int r;

	if (p->error)
		return p->error;
	if (!p->waiting)
		return 1;
	r = p->group->reducer->post(p->group, p->slot, p->bytes, p->mark);
	if (r < 0)
		return p->error = r;
	p->waiting = !r;
	return r;
}

static int port_reserve(struct hk_send *s, uint32_t bytes, void **slot)
{
	struct hk_reduce_port *p = of_send(s);
	int r = push(p);

	if (r <= 0)
		return r;
	if (bytes > s->slot_bytes)
		return p->error =
			       hk_fail(EINVAL, "a message of %u bytes is longer than a slot (%u)",
				       bytes, s->slot_bytes);
	p->reserved = true;
	*slot = p->slot;
	return 1;
}

static int port_commit(struct hk_send *s, uint32_t bytes, uint32_t mark)
{
	struct hk_reduce_port *p = of_send(s);
	int r;

	if (p->error)
		return p->error;
	if (!p->reserved || bytes > s->slot_bytes)
		return p->error = hk_fail(EINVAL, "commit of %u bytes without a slot", bytes);
	p->reserved = false;
	p->bytes = bytes;
	p->mark = mark;
	p->waiting = true;
	r = push(p);
	return r < 0 ? r : 0;
}

static int port_flush(struct hk_send *s)
{
	return push(of_send(s));
}

static int port_peek(struct hk_recv *r, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct hk_reduce_port *p = of_recv(r);
	int n;

	/* Whoever only receives for a while must not hold back what it has to give. */
	if (push(p) < 0)
		return p->error;
	n = p->group->reducer->poll(p->group, data, bytes, mark);
	return n < 0 ? (p->error = n) : n;
}

static int port_release(struct hk_recv *r)
{
	struct hk_reduce_port *p = of_recv(r);
	int n = p->error ? p->error : p->group->reducer->release(p->group);

	return n < 0 ? (p->error = n) : 0;
}

static const struct hk_send_ops send_ops = {
	.reserve = port_reserve,
	.commit = port_commit,
	.lends = hk_lends_never,
	.lend = hk_lend_none,
	.flush = port_flush,
	.owes = hk_owes_none,
	.settle = hk_settle_flushed,
};

static const struct hk_recv_ops recv_ops = {
	.peek = port_peek,
	.pull = hk_pull_none,
	.release = port_release,
	.offer = hk_offer_none,
};

/* Enough of a transport for whoever names it or waits on it; connections are not made by it. */
static int no_open(const struct hk_endpoint_env *env, struct hk_endpoint **ep, struct hk_addr *addr)
{
	return -ENOTSUP;
}

static bool no_reach(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		     struct hk_cost *cost)
{
	return false;
}

static int no_send(struct hk_endpoint *ep, int peer, uint32_t channel, const struct hk_addr *addr,
		   struct hk_send **conn)
{
	return hk_fail(ENOTSUP, "a reducer's port has one connection");
}

static int no_recv(struct hk_endpoint *ep, int peer, uint32_t channel, const struct hk_addr *addr,
		   struct hk_recv **conn)
{
	return hk_fail(ENOTSUP, "a reducer's port has one connection");
}

static size_t no_memory(struct hk_endpoint *ep)
{
	return 0;
}

static void no_close(struct hk_endpoint *ep)
{
}

static const struct hk_transport port_transport = {
	.name = "a reducer",
	.open = no_open,
	.reach = no_reach,
	.connect_send = no_send,
	.connect_recv = no_recv,
	.attach = hk_attach_none,
	.detach = hk_detach_none,
	.arm = hk_arm_none,
	.wait = hk_wait_nap,
	.sever = hk_sever_none,
	.leave = hk_leave_none,
	.ring_send = hk_ring_send_none,
	.ring_recv = hk_ring_recv_none,
	.rows = hk_rows_none,
	.peer_memory = hk_peer_memory_none,
	.memory = no_memory,
	.device_memory = hk_device_memory_none,
	.admit_device = hk_admit_device_none,
	.close = no_close,
};

int hk_reduce_port_open(struct hk_reduce_group *g, int peer, uint32_t slot_bytes,
			struct hk_reduce_port **port)
{
	struct hk_reduce_port *p = calloc(1, sizeof(*p));
	struct hk_reducer_caps caps;
	int err = 0;

	g->reducer->caps(g->dev, &caps);
	if (caps.payload < slot_bytes)
		err = hk_fail(EINVAL,
			      "the reducer %s takes messages of %u bytes, and slots have %u: set "
			      "HOCKET_SLOT_BYTES",
			      g->reducer->name, caps.payload, slot_bytes);
	if (!err && p)
		p->slot = aligned_alloc(LINE, (slot_bytes + LINE - 1) / LINE * LINE);
	if (!err && (!p || !p->slot))
		err = hk_fail(ENOMEM, "no memory for a reducer's port");
	if (err) {
		free(p);
		g->reducer->destroy(g);
		return err;
	}
	p->group = g;
	p->ep = (struct hk_endpoint){&port_transport, (int)g->member, (int)g->members + 1};
	p->send = (struct hk_send){
		.ops = &send_ops, .ep = &p->ep, .peer = peer, .slots = 1, .slot_bytes = slot_bytes};
	p->recv = (struct hk_recv){.ops = &recv_ops,
				   .ep = &p->ep,
				   .peer = peer,
				   .slots = caps.outstanding,
				   .slot_bytes = slot_bytes};
	*port = p;
	return 0;
}

struct hk_send *hk_reduce_port_send(struct hk_reduce_port *p)
{
	return &p->send;
}

struct hk_recv *hk_reduce_port_recv(struct hk_reduce_port *p)
{
	return &p->recv;
}

int hk_reduce_port_begin(struct hk_reduce_port *p, const struct hk_reduce_call *call)
{
	return p->error ? p->error : p->group->reducer->begin(p->group, call);
}

void hk_reduce_port_close(struct hk_reduce_port *p)
{
	if (!p)
		return;
	p->group->reducer->destroy(p->group);
	free(p->slot);
	free(p);
}
