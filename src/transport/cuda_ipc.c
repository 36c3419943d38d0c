/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPU memory between ranks of one host: the rings of connections are in the memory of the
 * receiver's GPU, and kernels (src/device) move the messages. The host makes the connections.
 *
 * Each rank has one segment of its GPU's memory. Ranks of the same process use its address; others
 * open it by the handle that it publishes. So one opened handle per pair of ranks serves all their
 * connections, and neither half waits for the other:
 *
 *     segment | probe | counts by (peer, channel) | doors by (peer, channel) | rings ...
 *
 * The receiver makes a ring and writes where it is to its door; the sender's kernel looks there.
 * What the receiver is through with it counts in the sender's segment.
 *
 * Whether a peer's segment can be reached is tried, not asked: its probe page is read through this
 * GPU and must be what the peer said. Where that fails (containers that share no namespace, GPUs
 * that don't reach each other) the next transport serves the pair, with the reason in the log.
 *
 * Where it can, a message is lent: it stays where it is, and its receiver reads it there. Between
 * ranks of one process on one GPU that is so for any memory, else for what is registered, once the
 * peer has opened it (gpu_board.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "error.h"
#include "gpu.h"
#include "gpu_board.h"
#include "records.h"
#include "share.h"
#include "transport.h"

extern const struct hk_transport hk_transport_cuda_ipc;

#define ADDR_MAGIC  0x6370692d61647563ull
#define PROBE_BYTES 4096u
#define LEND_BYTES  16384u
#define MOST_ARENA  (40u << 20)
#define MORE_ARENA  (5u << 20) /* for each rank beyond the eighth */
#define FEW_SLOTS   2u	       /* of rings that come late */
#define ALIGN	    HKD_DOOR_SLOTS

struct ipc_addr {
	uint64_t magic, host, process; /* process: random, so that a reused number is no match */
	uint64_t segment;	       /* its address, for ranks of the same process */
	uint64_t nonce;		       /* what its probe page is filled with */
	uint64_t context;	       /* likewise */
	uint64_t bytes;		       /* of the segment; 0: other processes cannot open it */
	int32_t device, unused;
	uint8_t handle[64]; /* of struct hk_gpu_share */
};
_Static_assert(sizeof(struct ipc_addr) <= HK_ADDR_BYTES, "an address fits");

struct ipc_peer {
	uint64_t segment; /* 0: not opened */
	bool refused, opened, same_process;
	bool same_context; /* kernels here reach all that kernels there do */
};

struct ipc_endpoint {
	struct hk_endpoint ep;
	struct hk_endpoint_env env;
	uint64_t process, segment;
	size_t bytes, used;
	struct ipc_peer *peers;
	struct ipc_send *sends;
	struct ipc_recv *recvs;
	struct hk_board *board; /* of registered memory */
	bool severed;		/* after a failure: peers' kernels may still write to the segment */
};

struct ipc_send {
	struct hk_send send;
	struct ipc_send *next;
	struct hkd_send record;
};

struct ipc_recv {
	struct hk_recv recv;
	struct ipc_recv *next;
	struct hkd_recv record;
};

/* --- the host's fast path: there is none --- */

static int by_kernels(void)
{
	return hk_fail(ENOTSUP, "messages over cuda_ipc are moved by kernels, not by the host");
}

static int ipc_reserve(struct hk_send *s, uint32_t bytes, void **slot)
{
	return by_kernels();
}

static int ipc_commit(struct hk_send *s, uint32_t bytes, uint32_t mark)
{
	return by_kernels();
}

static int ipc_peek(struct hk_recv *r, const void **data, uint32_t *bytes, uint32_t *mark)
{
	return by_kernels();
}

static int ipc_release(struct hk_recv *r)
{
	return by_kernels();
}

static const struct hk_send_ops send_ops = {
	.reserve = ipc_reserve,
	.commit = ipc_commit,
	.lends = hk_lends_never,
	.lend = hk_lend_none,
	.flush = hk_flush_done,
	.settle = hk_settle_flushed,
};

static const struct hk_recv_ops recv_ops = {
	.peek = ipc_peek,
	.pull = hk_pull_none,
	.release = ipc_release,
	.offer = hk_offer_none,
};

static struct ipc_endpoint *of(struct hk_endpoint *ep)
{
	return (struct ipc_endpoint *)ep;
}

/* --- where things are in a segment; the same in all --- */

static size_t words(const struct ipc_endpoint *e)
{
	return (size_t)e->env.nranks * e->env.channels * sizeof(uint64_t);
}

static uint64_t count_at(const struct ipc_endpoint *e, uint64_t segment, int peer, uint32_t channel)
{
	return segment + PROBE_BYTES +
	       ((uint64_t)peer * e->env.channels + channel) * sizeof(uint64_t);
}

static uint64_t door_at(const struct ipc_endpoint *e, uint64_t segment, int peer, uint32_t channel)
{
	return count_at(e, segment, peer, channel) + words(e);
}

static size_t ring_bytes(const struct ipc_endpoint *e, uint32_t slots)
{
	size_t n = hkd_ring_bytes(slots, e->env.usual_bytes, HKD_LINE_BYTES);

	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* --- control path --- */

static int draw(uint64_t *x)
{
	if (getrandom(x, sizeof(*x), 0) == (ssize_t)sizeof(*x))
		return 0;
	return hk_fail(errno, "no random bytes: %s", strerror(errno));
}

/* This process, in this run of it. */
static int process_id(uint64_t *out)
{
	static uint64_t id;
	uint64_t none = 0, new;
	int err = draw(&new);

	if (err)
		return err;
	new |= 1;
	__atomic_compare_exchange_n(&id, &none, new, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	*out = __atomic_load_n(&id, __ATOMIC_ACQUIRE);
	return 0;
}

static int fill_probe(struct ipc_endpoint *e, uint64_t nonce)
{
	uint64_t page[PROBE_BYTES / sizeof(uint64_t)];

	for (size_t i = 0; i < PROBE_BYTES / sizeof(uint64_t); i++)
		page[i] = nonce + i;
	return hk_gpu_write(e->env.gpu, e->segment, page, sizeof(page));
}

static int ipc_open(const struct hk_endpoint_env *env, struct hk_endpoint **ep,
		    struct hk_addr *addr)
{
	struct ipc_addr a = {.magic = ADDR_MAGIC, .host = env->host};
	struct hk_gpu_share share;
	size_t arena, most;
	struct ipc_endpoint *e;
	int fd, err; /* what hk_gpu_alloc made has no descriptor */

	if (!env->gpu)
		return -ENOTSUP;
	e = calloc(1, sizeof(*e));
	if (!e)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	e->ep = (struct hk_endpoint){&hk_transport_cuda_ipc, env->rank, env->nranks};
	e->env = *env;
	e->peers = calloc((size_t)env->nranks, sizeof(*e->peers));
	err = e->peers ? process_id(&a.process)
		       : hk_fail(ENOMEM, "no memory for %d peers", env->nranks);
	if (!err)
		err = draw(&a.nonce);
	if (err)
		goto fail;
	e->process = a.process;
	e->used = (PROBE_BYTES + 2 * words(e) + ALIGN - 1) / ALIGN * ALIGN;
	arena = ring_bytes(e, env->slots) * env->channels *
		(size_t)(env->nranks > 1 ? env->nranks - 1 : 1);
	most = MOST_ARENA + (env->nranks > 8 ? (size_t)(env->nranks - 8) * MORE_ARENA : 0);
	e->bytes = e->used + (arena < most ? arena : most);
	err = hk_gpu_alloc_shared(env->gpu, e->bytes, &e->segment);
	if (err)
		goto fail;
	err = fill_probe(e, a.nonce);
	if (!err)
		err = hk_board_open(env, &e->board);
	if (err)
		goto fail;
	/* Without a handle the ranks of this process can still use it. */
	if (!hk_gpu_share(env->gpu, e->segment, &share, &fd)) {
		a.bytes = share.bytes;
		memcpy(a.handle, share.handle, sizeof(a.handle));
	}
	a.segment = e->segment;
	a.context = hk_gpu_context(env->gpu);
	a.device = hk_gpu_device(env->gpu);
	memset(addr, 0, sizeof(*addr));
	memcpy(addr->bytes, &a, sizeof(a));
	*ep = &e->ep;
	return 0;
fail:
	hk_board_close(e->board);
	hk_gpu_free(env->gpu, e->segment);
	free(e->peers);
	free(e);
	return err;
}

/* Reads the peer's probe page through this GPU. */
static int probe(struct ipc_endpoint *e, uint64_t segment, uint64_t nonce)
{
	uint64_t page[PROBE_BYTES / sizeof(uint64_t)];
	int err = hk_gpu_read(e->env.gpu, page, segment, sizeof(page));

	for (size_t i = 0; !err && i < PROBE_BYTES / sizeof(uint64_t); i++)
		if (page[i] != nonce + i)
			err = hk_fail_quiet(EIO, "what is read there is not what its owner wrote");
	return err;
}

static int open_segment(struct ipc_endpoint *e, const struct ipc_addr *a, uint64_t *segment)
{
	struct hk_gpu_share share = {.base = a->segment, .bytes = a->bytes};

	if (!a->bytes)
		return hk_fail_quiet(ENOTSUP, "its owner got no handle of it from its driver");
	memcpy(share.handle, a->handle, sizeof(share.handle));
	if (!hk_gpu_open_share(e->env.gpu, &share, -1, segment))
		return 0;
	/* What its owner had there before may still be open, for another communicator. */
	hk_boards_refresh();
	return hk_gpu_open_share(e->env.gpu, &share, -1, segment);
}

static int open_peer(struct ipc_endpoint *e, const struct ipc_addr *a, struct ipc_peer *p)
{
	uint64_t segment = a->segment;
	int err;

	p->same_process = a->process == e->process;
	p->same_context = p->same_process && a->context == hk_gpu_context(e->env.gpu);
	if (p->same_process && !p->same_context && a->device == hk_gpu_device(e->env.gpu))
		err = hk_fail_quiet(ENOTSUP, "it is of another context on the same GPU, which "
					     "kernels of this one don't reach");
	else if (p->same_process)
		err = hk_gpu_reach(e->env.gpu, a->device);
	else
		err = open_segment(e, a, &segment);
	if (err)
		return err;
	p->opened = !p->same_process;
	err = probe(e, segment, a->nonce);
	if (!err) {
		p->segment = segment;
	} else if (p->opened) {
		hk_gpu_close_share(e->env.gpu, segment);
		p->opened = false;
	}
	return err;
}

static bool ipc_reach(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		      struct hk_cost *cost)
{
	struct ipc_endpoint *e = of(ep);
	struct ipc_peer *p = &e->peers[peer];
	struct ipc_addr a;

	memcpy(&a, addr->bytes, sizeof(a));
	if (a.magic != ADDR_MAGIC || a.host != e->env.host || p->refused)
		return false;
	if (!p->segment && open_peer(e, &a, p)) {
		p->refused = true;
		hk_log(HK_LOG_WARN,
		       "rank %d does not reach the GPU memory of rank %d (%s): their messages go "
		       "through host memory",
		       ep->rank, peer, hk_last_error());
		return false;
	}
	*cost = (struct hk_cost){.latency_ns = 2000, .message_ns = 700, .ns_per_byte = 0.001};
	return true;
}

static int meet(struct ipc_endpoint *e, int peer)
{
	const struct ipc_peer *p = &e->peers[peer];

	return p->same_context ? 0 : hk_board_meet(e->board, peer, p->same_process);
}

static int ipc_connect_recv(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_recv **conn)
{
	struct ipc_endpoint *e = of(ep);
	uint32_t slots = e->env.slots;
	uint64_t at = e->used, door;
	size_t bytes;
	struct ipc_recv *r;
	int err;

	err = meet(e, peer);
	if (err)
		return err;
	/* The first half is for those that all calls use; an all-to-all has many more. */
	if (e->used + ring_bytes(e, slots) > e->bytes / 2 && slots > FEW_SLOTS &&
	    e->bytes >= MOST_ARENA)
		slots = FEW_SLOTS;
	bytes = ring_bytes(e, slots);
	if (e->used + bytes > e->bytes)
		return hk_fail(ENOSPC,
			       "the %zu MiB of GPU memory for connections are used up at rank %d, "
			       "channel %u; use fewer channels (HOCKET_CHANNELS) or shorter slots "
			       "(HOCKET_SLOT_BYTES)",
			       e->bytes >> 20, peer, channel);
	r = calloc(1, sizeof(*r));
	if (!r)
		return hk_fail(ENOMEM, "no memory for a connection");
	r->recv = (struct hk_recv){.ops = &recv_ops,
				   .ep = ep,
				   .peer = peer,
				   .channel = channel,
				   .slots = slots,
				   .slot_bytes = e->env.usual_bytes};
	r->record = (struct hkd_recv){
		.ring = e->segment + at,
		.released = count_at(e, e->peers[peer].segment, ep->rank, channel),
		.slots = slots,
		.slot_bytes = e->env.usual_bytes,
		.line_bytes = HKD_LINE_BYTES,
		.peer = peer};
	door = at + slots;
	err = hk_gpu_write(e->env.gpu, door_at(e, e->segment, peer, channel), &door, sizeof(door));
	if (err) {
		free(r);
		return err;
	}
	e->used += bytes;
	r->next = e->recvs;
	e->recvs = r;
	*conn = &r->recv;
	return 0;
}

static int ipc_connect_send(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_send **conn)
{
	struct ipc_endpoint *e = of(ep);
	const struct ipc_peer *p = &e->peers[peer];
	struct ipc_send *s = calloc(1, sizeof(*s));

	if (!s)
		return hk_fail(ENOMEM, "no memory for a connection");
	s->send = (struct hk_send){.ops = &send_ops,
				   .ep = ep,
				   .peer = peer,
				   .channel = channel,
				   .slots = e->env.slots,
				   .slot_bytes = e->env.usual_bytes};
	s->record = (struct hkd_send){.door = door_at(e, p->segment, ep->rank, channel),
				      .base = p->segment,
				      .released = count_at(e, e->segment, peer, channel),
				      .slots = e->env.slots,
				      .slot_bytes = e->env.usual_bytes,
				      .line_bytes = HKD_LINE_BYTES,
				      .lends = LEND_BYTES,
				      .anything = p->same_context,
				      .peer = peer};
	s->next = e->sends;
	e->sends = s;
	*conn = &s->send;
	return 0;
}

static int ipc_ring_send(struct hk_send *s, struct hkd_send *record)
{
	*record = ((struct ipc_send *)s)->record;
	return 0;
}

static int ipc_ring_recv(struct hk_recv *r, struct hkd_recv *record)
{
	*record = ((struct ipc_recv *)r)->record;
	return 0;
}

static int ipc_attach(struct hk_endpoint *ep, const struct hk_memory *m)
{
	return m->fd < 0 ? hk_board_attach(of(ep)->board, (uintptr_t)m->base, m->bytes) : 0;
}

static void ipc_detach(struct hk_endpoint *ep, const struct hk_memory *m)
{
	if (m->fd < 0)
		hk_board_detach(of(ep)->board, (uintptr_t)m->base, m->bytes);
}

static uint64_t ipc_rows(struct hk_endpoint *ep, uint64_t at, size_t bytes, bool kept)
{
	return hk_board_rows(of(ep)->board, at, bytes, kept);
}

static uint64_t ipc_peer_memory(struct hk_endpoint *ep, int peer, uint64_t at, size_t bytes)
{
	struct ipc_endpoint *e = of(ep);

	if (peer == ep->rank || e->peers[peer].same_context)
		return at;
	if (!e->peers[peer].segment || meet(e, peer))
		return 0;
	return hk_board_peer_memory(e->board, peer, at, bytes);
}

/* The kernels of this rank are stopped by its executor, those of peers by theirs. */
static void ipc_sever(struct hk_endpoint *ep)
{
	of(ep)->severed = true;
}

static size_t ipc_memory(struct hk_endpoint *ep)
{
	return sizeof(struct ipc_endpoint) + (size_t)ep->nranks * sizeof(struct ipc_peer);
}

static size_t ipc_device_memory(struct hk_endpoint *ep)
{
	return of(ep)->bytes + hk_board_device_memory(of(ep)->board);
}

static void ipc_close(struct hk_endpoint *ep)
{
	struct ipc_endpoint *e = of(ep);

	if (!e)
		return;
	for (struct ipc_send *s = e->sends, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	for (struct ipc_recv *r = e->recvs, *next; r; r = next) {
		next = r->next;
		free(r);
	}
	hk_board_close(e->board);
	for (int i = 0; i < ep->nranks; i++)
		if (e->peers[i].opened)
			hk_gpu_close_share(e->env.gpu, e->peers[i].segment);
	if (e->severed)
		hk_gpu_abandon(e->env.gpu, e->segment);
	else
		hk_gpu_free(e->env.gpu, e->segment);
	free(e->peers);
	free(e);
}

const struct hk_transport hk_transport_cuda_ipc = {
	.name = "cuda_ipc",
	.open = ipc_open,
	.reach = ipc_reach,
	.connect_send = ipc_connect_send,
	.connect_recv = ipc_connect_recv,
	.attach = ipc_attach,
	.detach = ipc_detach,
	.arm = hk_arm_none,
	.wait = hk_wait_nap,
	.sever = ipc_sever,
	.leave = hk_leave_none,
	.ring_send = ipc_ring_send,
	.ring_recv = ipc_ring_recv,
	.rows = ipc_rows,
	.peer_memory = ipc_peer_memory,
	.memory = ipc_memory,
	.device_memory = ipc_device_memory,
	.admit_device = hk_admit_device_none,
	.close = ipc_close,
};
