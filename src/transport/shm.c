/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared memory between ranks of one host.
 *
 * Each rank owns one segment, a memfd that its peers fetch over the bootstrap's Unix socket, so the
 * size of /dev/shm does not matter. The segment is sparse: it has room for a connection from every
 * rank on every channel, but only the pages of connections in use exist. A connection has one
 * control page, with the receiver's count of released slots and one header line per slot, and then
 * the slots:
 *
 *     segment     | bell page | (source 0, channel 0) | (source 0, channel 1) | ...
 *     connection  | control page: released ... header 0, header 1 ... | slot 0 | slot 1 | ...
 *
 * A header is one cache line: sequence number, length, mark and room for 48 bytes of payload, so a
 * small message is one line that moves from core to core once. A larger one is written to its slot
 * before the sequence number is. The sender reads the released count only when its last reading
 * leaves it no slot, so that line seldom moves. Slots are small (a few times 32 KiB by default)
 * because they live in the second-level cache between being written by one core and read by the
 * other.
 *
 * Ways. What a slot costs to write and to read depends on where the two cores are, which nobody
 * tells us: between cores that share a cache a slot had best stay in it; between others, stores
 * that bypass the cache were two to three times as fast. So each connection measures: the sender
 * how long it takes to fill a slot, the receiver how long to use it (it reports that beside the
 * released count). A burst now and then goes another way (way.h), so that the choice follows when
 * the system moves a rank.
 *
 * Lending. A message need not be copied to a slot: its header then says where it is, and the
 * receiver reads it there. Registered memory is in a file, which the receiver maps and keeps mapped
 * (loan.h). Any memory of a sender in the receiver's own process is read by its address. That of
 * another process is pulled, by a system call that copies it straight to its destination (pull.h):
 * only long messages are worth that, about 2 us per call and 0.1 us per KiB where this was
 * measured. These are further ways, measured like the others. The sender's flush waits until all
 * that was lent has been released.
 *
 * Whether the receiver can pull it finds out when it connects, and says so beside its counts. A
 * pull can fail all the same: a process may give up rights later, and some memory can be read by
 * its owner only. Then the receiver refuses the message, and pulls no more; the sender, who waits
 * for that loan anyway, copies it to the slot that it would have had and says "served".
 *
 * Sleeping. A rank that waits long arms its bell (a word in its segment) and sleeps on it as a
 * futex. A sender stores a message and then loads the bell; a sleeper stores the bell and then
 * loads the messages. One of the two needs a full barrier between its store and its load, or both
 * may miss each other. The sleeper pays for both with membarrier(2), so the path of a message has
 * no fence. Where the kernel has no such membarrier, sleeps are cut short instead.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "param.h"
#include "shm.h"

extern const struct hk_transport hk_transport_shm;

#define TAG	       0x73686d00u /* what the segment is published under */
#define ADDR_MAGIC     0x6d656d2d6b636f69ull
#define SHORT_SLEEP_NS 500000 /* where nothing orders a sleeper's look with a sender's */

struct shm_addr {
	uint64_t magic, host;
	struct hk_pull_id memory;
};
_Static_assert(sizeof(struct shm_addr) <= HK_ADDR_BYTES, "an address fits");

/* --- sleeping --- */

static void shm_arm(struct hk_endpoint *ep)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);

	/* The look that follows must be a real one. */
	for (struct hk_shm_send *s = e->sends; s; s = s->next)
		s->look_at = 0;
	atomic_store_explicit(&e->bell->armed, 1, memory_order_seq_cst);
	if (e->ordered)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
	/* Who waits for something else than for its loans must not keep others waiting for them. */
	for (struct hk_shm_send *s = e->sends; s; s = s->next)
		if (s->owing)
			hk_shm_serve(s);
}

static void shm_wait(struct hk_endpoint *ep, int64_t timeout_ns)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);
	struct timespec t;

	if (!e->ordered && timeout_ns > SHORT_SLEEP_NS)
		timeout_ns = SHORT_SLEEP_NS;
	t.tv_sec = timeout_ns / 1000000000;
	t.tv_nsec = timeout_ns % 1000000000;
	syscall(SYS_futex, &e->bell->armed, FUTEX_WAIT, 1, &t, NULL, 0);
	atomic_store_explicit(&e->bell->armed, 0, memory_order_relaxed);
}

/* --- control path --- */

static int shm_open_endpoint(const struct hk_endpoint_env *env, struct hk_endpoint **ep,
			     struct hk_addr *addr)
{
	struct shm_addr a = {.magic = ADDR_MAGIC, .host = env->host};
	struct hk_shm_endpoint *e;
	int err;

	if (!env->wire || env->slots > HK_SHM_MAX_SLOTS)
		return -ENOTSUP;
	e = calloc(1, sizeof(*e));
	if (!e)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	e->ep = (struct hk_endpoint){&hk_transport_shm, env->rank, env->nranks};
	e->env = *env;
	e->regions = (size_t)env->nranks * env->channels;
	e->region_bytes = HK_SHM_PAGE + (size_t)env->slots * env->slot_bytes;
	e->ordered = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
	e->peers = calloc((size_t)env->nranks, sizeof(*e->peers));
	if (!e->peers) {
		err = hk_fail(ENOMEM, "no memory for %d peers", env->nranks);
		goto free_endpoint;
	}
	err = hk_pull_self(&a.memory);
	if (err)
		goto free_peers;
	err = hk_shm_create(e->regions, e->region_bytes, &e->fd, &e->bell);
	if (err)
		goto free_peers;
	err = env->wire->ops->publish(env->wire, TAG, e->fd);
	if (err)
		goto destroy_segment;
	memset(addr, 0, sizeof(*addr));
	memcpy(addr->bytes, &a, sizeof(a));
	*ep = &e->ep;
	return 0;
destroy_segment:
	munmap(e->bell, HK_SHM_PAGE);
	close(e->fd);
free_peers:
	free(e->peers);
free_endpoint:
	free(e);
	return err;
}

static bool shm_reach(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		      struct hk_cost *cost)
{
	struct shm_addr a;

	memcpy(&a, addr->bytes, sizeof(a));
	if (a.magic != ADDR_MAGIC || a.host != hk_shm_endpoint(ep)->env.host)
		return false;
	*cost = (struct hk_cost){.latency_ns = 150, .message_ns = 40, .ns_per_byte = 0.08};
	return true;
}

/* Maps the peer's bell and keeps its segment's descriptor, at the first connection with it. */
static int meet(struct hk_shm_endpoint *e, int peer)
{
	struct hk_shm_peer *p = &e->peers[peer];
	int fd, err;

	if (p->bell)
		return 0;
	err = e->env.wire->ops->fetch(e->env.wire, peer, TAG, &fd);
	if (err)
		return err;
	err = hk_shm_map_bell(fd, peer, e->regions, e->region_bytes, &p->bell);
	if (err) {
		close(fd);
		return err;
	}
	p->fd = fd;
	return 0;
}

/* Maps the region of the connection from `source` on `channel` in the segment fd. */
static int map_region(const struct hk_shm_endpoint *e, int fd, int source, uint32_t channel,
		      struct hk_shm_region *region)
{
	size_t index = (size_t)source * e->env.channels + channel;

	return hk_shm_map_region(fd, index, e->region_bytes, region);
}

/* The memory of the process that published addr; true if it is this one, to be read as our own. */
static bool same_process(const struct hk_addr *addr, struct hk_pull_id *memory)
{
	struct shm_addr a;

	memcpy(&a, addr->bytes, sizeof(a));
	*memory = a.memory;
	return hk_param(HK_PARAM_CMA) == 1 && hk_pull_is_self(memory);
}

static int shm_connect_send(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_send **conn)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);
	struct hk_pull_id memory;
	struct hk_shm_send *s;
	int err = meet(e, peer);

	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return hk_fail(ENOMEM, "no memory for a connection");
	err = map_region(e, e->peers[peer].fd, ep->rank, channel, &s->region);
	if (err) {
		free(s);
		return err;
	}
	s->s = (struct hk_send){.ops = &hk_shm_send_ops,
				.ep = ep,
				.peer = peer,
				.channel = channel,
				.slots = e->env.slots,
				.slot_bytes = e->env.slot_bytes};
	s->bell = e->peers[peer].bell;
	for (unsigned i = 0; i < HK_WAY_CLASSES; i++)
		s->ways[i].read_cost = hk_shm_credit(&s->region)->read_cost[i];
	s->same = same_process(addr, &memory);
	s->header = hk_shm_header(&s->region, 0);
	s->next = e->sends;
	e->sends = s;
	*conn = &s->s;
	return 0;
}

/* Finds out whether the sender's memory can be read, and tells it. */
static void try_to_pull(struct hk_shm_recv *r)
{
	int err = hk_pull_probe(&r->memory);

	if (err)
		hk_shm_say_cannot_pull(r, err);
	else
		atomic_store_explicit(&hk_shm_credit(&r->region)->pulls, 1, memory_order_relaxed);
}

static int shm_connect_recv(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_recv **conn)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);
	struct hk_shm_recv *r;
	int err = meet(e, peer);

	if (err)
		return err;
	r = calloc(1, sizeof(*r));
	if (!r)
		return hk_fail(ENOMEM, "no memory for a connection");
	err = map_region(e, e->fd, peer, channel, &r->region);
	if (err) {
		free(r);
		return err;
	}
	r->r = (struct hk_recv){&hk_shm_recv_ops, ep,		peer,
				channel,	  e->env.slots, e->env.slot_bytes};
	r->bell = e->peers[peer].bell;
	r->header = hk_shm_header(&r->region, 0);
	r->same = same_process(addr, &r->memory);
	if (!r->same && hk_param(HK_PARAM_CMA))
		try_to_pull(r);
	atomic_store_explicit(&hk_shm_credit(&r->region)->met, 1, memory_order_release);
	r->next = e->recvs;
	e->recvs = r;
	*conn = &r->r;
	return 0;
}

static int shm_attach(struct hk_endpoint *ep, const struct hk_memory *m)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);

	return hk_lender_attach(&e->lender, e->env.wire, HK_SHM_FILE_TAG, m);
}

static void shm_detach(struct hk_endpoint *ep, const struct hk_memory *m)
{
	hk_lender_detach(&hk_shm_endpoint(ep)->lender, m);
}

static size_t shm_memory(struct hk_endpoint *ep)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);
	size_t bytes = sizeof(*e) + (size_t)ep->nranks * sizeof(*e->peers);
	struct stat st;

	/* The pages that exist; each belongs to its receiver, so nothing is counted twice. */
	if (fstat(e->fd, &st) == 0)
		bytes += (size_t)st.st_blocks * 512;
	for (struct hk_shm_send *s = e->sends; s; s = s->next)
		bytes += sizeof(*s);
	for (struct hk_shm_recv *r = e->recvs; r; r = r->next)
		bytes += sizeof(*r);
	return bytes;
}

static void say_costs(const struct hk_shm_send *s)
{
	for (unsigned i = 0; i < HK_WAY_CLASSES; i++) {
		const struct hk_ways *w = &s->ways[i];

		hk_log(HK_LOG_TRACE,
		       "rank %d to %d, channel %u: %u %s messages in slots, %u lendable; cost "
		       "cached %u, bypass %u, lent %u, pulled %u",
		       s->s.ep->rank, s->s.peer, s->s.channel, w->filled, i ? "long" : "large",
		       w->offered, (unsigned)hk_way_cost(w, HK_WAY_CACHED),
		       (unsigned)hk_way_cost(w, HK_WAY_BYPASS),
		       (unsigned)hk_way_cost(w, HK_WAY_LENT),
		       (unsigned)hk_way_cost(w, HK_WAY_PULLED));
	}
}

static void shm_leave(struct hk_endpoint *ep)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);

	atomic_store_explicit(&e->bell->left, 1, memory_order_release);
	for (struct hk_shm_recv *r = e->recvs; r; r = r->next) {
		atomic_store_explicit(&hk_shm_credit(&r->region)->gone, 1, memory_order_release);
		hk_shm_ring_if_armed(r->bell);
	}
}

static void shm_close(struct hk_endpoint *ep)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(ep);

	if (!e)
		return;
	shm_leave(ep);
	while (e->sends) {
		struct hk_shm_send *s = e->sends;

		e->sends = s->next;
		say_costs(s);
		atomic_store_explicit(&hk_shm_sender(&s->region)->gone, 1, memory_order_release);
		hk_shm_ring_if_armed(s->bell);
		munmap(s->region.base, e->region_bytes);
		free(s);
	}
	while (e->recvs) {
		struct hk_shm_recv *r = e->recvs;

		e->recvs = r->next;
		munmap(r->region.base, e->region_bytes);
		free(r);
	}
	for (int i = 0; i < ep->nranks; i++) {
		hk_borrower_close(&e->peers[i].borrowed);
		if (!e->peers[i].bell)
			continue;
		munmap(e->peers[i].bell, HK_SHM_PAGE);
		close(e->peers[i].fd);
	}
	munmap(e->bell, HK_SHM_PAGE);
	close(e->fd);
	free(e->peers);
	free(e);
}

const struct hk_transport hk_transport_shm = {
	.name = "shm",
	.open = shm_open_endpoint,
	.reach = shm_reach,
	.connect_send = shm_connect_send,
	.connect_recv = shm_connect_recv,
	.attach = shm_attach,
	.detach = shm_detach,
	.arm = shm_arm,
	.wait = shm_wait,
	.sever = hk_sever_none,
	.leave = shm_leave,
	.ring_send = hk_ring_send_none,
	.ring_recv = hk_ring_recv_none,
	.rows = hk_rows_none,
	.peer_memory = hk_peer_memory_none,
	.memory = shm_memory,
	.device_memory = hk_device_memory_none,
	.admit_device = hk_admit_device_none,
	.close = shm_close,
};
