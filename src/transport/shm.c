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
 * Lending. A message in registered memory need not be copied to a slot: its header then says where
 * it is in the file that holds all of the sender's registered memory, and the receiver reads it
 * there, through a mapping that it keeps. It is a third way, measured like the others. The sender's
 * flush waits until all that was lent has been released.
 *
 * Sleeping. A rank that waits long arms its bell (a word in its segment) and sleeps on it as a
 * futex. A sender stores a message and then loads the bell; a sleeper stores the bell and then
 * loads the messages. One of the two needs a full barrier between its store and its load, or both
 * may miss each other. The sleeper pays for both with membarrier(2), so the path of a message has
 * no fence. Where the kernel has no such membarrier, sleeps are cut short instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "loan.h"
#include "transport.h"
#include "way.h"

extern const struct hk_transport hk_transport_shm;

#define PAGE	       4096u
#define TAG	       0x73686d00u /* what the segment is published under */
#define FILE_TAG       0x73686e00u /* what the file of registered memory is published under */
#define ADDR_MAGIC     0x6d656d2d6b636f68ull
#define INLINE_BYTES   48u
#define HEADER_STRIDE  128u /* two lines: some processors prefetch lines in pairs */
#define SENDER_AT      128u
#define HEADERS_AT     512u
#define MAX_SLOTS      ((PAGE - HEADERS_AT) / HEADER_STRIDE)
#define LARGE_BYTES    4096u /* from here on a message is measured */
#define LEND_BYTES     8192u /* less is faster copied than waited for */
#define LOOK_NS	       400
#define SHORT_SLEEP_NS 500000 /* where nothing orders a sleeper's look with a sender's */

struct shm_addr {
	uint64_t magic, host;
};

struct shm_bell {
	_Atomic uint32_t armed;
};

struct shm_header {
	_Atomic uint32_t seq; /* number of the message in this slot, from 1 on */
	uint32_t bytes, mark, way;
	uint8_t small[INLINE_BYTES];
};
_Static_assert(sizeof(struct hk_loan) <= INLINE_BYTES, "a loan fits a header");
_Static_assert(sizeof(struct shm_header) == 64, "a header is one cache line");

/* First line of a control page; only the receiver writes it. */
struct shm_credit {
	_Atomic uint32_t released;
	_Atomic uint32_t gone;		      /* the receiver has closed */
	_Atomic uint32_t read_cost[HK_NWAYS]; /* as hk_way_average() has it; 0: not known */
};

/* A mapped connection region, seen from either end. */
struct shm_region {
	uint8_t *base;
	uint8_t *slots;
};

struct shm_send {
	struct hk_send s;
	struct shm_region region;
	struct shm_bell *bell; /* the receiver's */
	uint32_t sent, released;
	struct shm_header *header; /* of the slot to be sent next */
	uint32_t index;
	struct shm_send *next;
	struct hk_ways ways;
	uint32_t way;	 /* of this message */
	int64_t look_at; /* no look at the released count before, when there was no slot */
	uint64_t since;	 /* when its slot was reserved */
	int error;
	uint32_t lent;		     /* number of the last message that was lent */
	struct hk_loan loan;	     /* of what is about to be lent */
	uint8_t small[INLINE_BYTES]; /* a small message until it is committed */
};

struct shm_recv {
	struct hk_recv r;
	struct shm_region region;
	struct shm_bell *bell; /* the sender's */
	uint32_t received;
	struct shm_header *header; /* of the slot to be received next */
	uint32_t index;
	int error;
	uint64_t since; /* when the message was seen */
	uint32_t bytes;
	struct shm_recv *next;
};

struct shm_peer {
	int fd;
	struct shm_bell *bell;
	struct hk_borrower borrowed;
};

struct shm_endpoint {
	struct hk_endpoint ep;
	struct hk_endpoint_env env;
	int fd;
	struct shm_bell *bell;
	bool ordered; /* membarrier works */
	size_t region_bytes;
	struct shm_peer *peers;
	struct shm_send *sends;
	struct shm_recv *recvs;
	struct hk_lender lender;
};

static struct shm_endpoint *endpoint(struct hk_endpoint *ep)
{
	return (struct shm_endpoint *)ep;
}

static struct shm_credit *credit(const struct shm_region *r)
{
	return (struct shm_credit *)r->base;
}

/* Second line of a control page: set when the sender has closed. */
static _Atomic uint32_t *sender_gone(const struct shm_region *r)
{
	return (_Atomic uint32_t *)(r->base + SENDER_AT);
}

static struct shm_header *header(const struct shm_region *r, uint32_t slot)
{
	return (struct shm_header *)(r->base + HEADERS_AT + slot * HEADER_STRIDE);
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static void __attribute__((cold, noinline)) ring(struct shm_bell *bell)
{
	if (atomic_exchange_explicit(&bell->armed, 0, memory_order_acq_rel))
		futex(&bell->armed, FUTEX_WAKE, 1, NULL);
}

static inline void ring_if_armed(struct shm_bell *bell)
{
	/* The compiler must not move this load up; the processor may (see the file's comment). */
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&bell->armed, memory_order_relaxed) != 0, 0))
		ring(bell);
}

/* --- fast path --- */

static int __attribute__((cold, noinline)) peer_gone(int peer, int *error)
{
	if (!*error)
		*error = hk_fail(
			HK_EPEER,
			"rank %d has destroyed its communicator, or aborted it, and takes no "
			"part in this call; do all ranks make the same calls?",
			peer);
	return *error;
}

static int shm_reserve(struct hk_send *send, uint32_t bytes, void **slot)
{
	struct shm_send *s = (struct shm_send *)send;
	int64_t now;

	if (s->sent - s->released >= s->s.slots) {
		/* Not at every poll: each look takes the line away from the receiver, who counts in
		 * it. */
		now = hk_now_ns();
		if (now < s->look_at)
			return 0;
		s->look_at = now + LOOK_NS;
		s->released =
			atomic_load_explicit(&credit(&s->region)->released, memory_order_acquire);
		if (s->sent - s->released >= s->s.slots) {
			if (atomic_load_explicit(&credit(&s->region)->gone, memory_order_relaxed))
				return peer_gone(s->s.peer, &s->error);
			return 0;
		}
	}
	/* The receiver polls the header's line, and would take it away between two stores: so a
	 * small message is put together here, and its line is written at once. */
	s->s.bypass = false;
	if (bytes >= LARGE_BYTES) {
		s->way = hk_way_to_fill(&s->ways);
		s->s.bypass = s->way == HK_WAY_BYPASS;
		s->since = hk_ticks();
	}
	*slot = bytes <= INLINE_BYTES ? s->small
				      : s->region.slots + (size_t)s->index * s->s.slot_bytes;
	return 1;
}

/* Makes the header's message visible, and goes on to the next slot. */
static inline void publish_header(struct shm_send *s, struct shm_header *h)
{
	atomic_store_explicit(&h->seq, ++s->sent, memory_order_release);
	s->index = s->index + 1 == s->s.slots ? 0 : s->index + 1;
	s->header = header(&s->region, s->index);
	ring_if_armed(s->bell);
}

static int shm_commit(struct hk_send *send, uint32_t bytes, uint32_t mark)
{
	struct shm_send *s = (struct shm_send *)send;
	struct shm_header *h = s->header;

	if (__builtin_expect(s->error, 0))
		return s->error;
	if (bytes <= INLINE_BYTES)
		memcpy(h->small, s->small, INLINE_BYTES);
	h->bytes = bytes;
	h->mark = mark;
	h->way = HK_WAY_CACHED;
	if (bytes >= LARGE_BYTES) {
		h->way = s->way;
		if (s->ways.filled > s->s.slots) /* else the slot's pages had to be made */
			s->ways.write_cost[s->way] = hk_way_average(s->ways.write_cost[s->way],
								    hk_ticks() - s->since, bytes);
	}
	publish_header(s, h);
	return 0;
}

static bool shm_lends(struct hk_send *send, const void *data, uint32_t bytes)
{
	struct shm_send *s = (struct shm_send *)send;

	return bytes >= LEND_BYTES &&
	       hk_lender_find(&endpoint(send->ep)->lender, data, bytes, &s->loan) &&
	       hk_way_to_lend(&s->ways);
}

static int shm_lend(struct hk_send *send, const void *data, uint32_t bytes, uint32_t mark)
{
	struct shm_send *s = (struct shm_send *)send;
	struct shm_header *h = s->header;

	memcpy(h->small, &s->loan, sizeof(s->loan));
	h->bytes = bytes;
	h->mark = mark;
	h->way = HK_WAY_LENT;
	publish_header(s, h);
	s->lent = s->sent;
	return 0;
}

static int shm_flush(struct hk_send *send)
{
	struct shm_send *s = (struct shm_send *)send;

	if ((int32_t)(s->released - s->lent) >= 0)
		return 1;
	s->released = atomic_load_explicit(&credit(&s->region)->released, memory_order_acquire);
	return (int32_t)(s->released - s->lent) >= 0;
}

/* The bytes of a lent message, which the header says where to find. */
static int borrow(struct shm_recv *r, uint32_t bytes, const void **data)
{
	struct shm_endpoint *e = endpoint(r->r.ep);
	struct hk_loan loan;
	int err;

	memcpy(&loan, r->header->small, sizeof(loan));
	err = hk_borrower_find(&e->peers[r->r.peer].borrowed, e->env.wire, r->r.peer, FILE_TAG,
			       &loan, bytes, data);
	r->error = err;
	return err;
}

static int __attribute__((cold, noinline)) bad_length(struct shm_recv *r, uint32_t bytes)
{
	return r->error = hk_fail(
		       HK_EWIRE,
		       "rank %d announced a message of %u bytes over shared memory, but a slot has "
		       "%u; its memory is damaged or it runs another version",
		       r->r.peer, bytes, r->r.slot_bytes);
}

static int shm_peek(struct hk_recv *recv, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct shm_recv *r = (struct shm_recv *)recv;
	struct shm_header *h = r->header;
	uint32_t n;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (atomic_load_explicit(&h->seq, memory_order_acquire) != r->received + 1) {
		if (!atomic_load_explicit(sender_gone(&r->region), memory_order_acquire))
			return 0;
		/* Its last messages came before it said so. */
		if (atomic_load_explicit(&h->seq, memory_order_acquire) != r->received + 1)
			return peer_gone(r->r.peer, &r->error);
	}
	n = h->bytes;
	if (__builtin_expect(n > r->r.slot_bytes, 0))
		return bad_length(r, n);
	*bytes = n;
	*mark = h->mark;
	r->bytes = n;
	if (__builtin_expect(h->way == HK_WAY_LENT, 0)) {
		int err = borrow(r, n, data);

		if (err)
			return err;
	} else {
		*data = n <= INLINE_BYTES ? h->small
					  : r->region.slots + (size_t)r->index * r->r.slot_bytes;
	}
	if (n >= LARGE_BYTES)
		r->since = hk_ticks();
	return 1;
}

static int shm_release(struct hk_recv *recv)
{
	struct shm_recv *r = (struct shm_recv *)recv;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (r->bytes >= LARGE_BYTES) {
		_Atomic uint32_t *cost = &credit(&r->region)->read_cost[r->header->way % HK_NWAYS];
		uint32_t known = atomic_load_explicit(cost, memory_order_relaxed);

		atomic_store_explicit(cost, hk_way_average(known, hk_ticks() - r->since, r->bytes),
				      memory_order_relaxed);
	}
	atomic_store_explicit(&credit(&r->region)->released, ++r->received, memory_order_release);
	r->index = r->index + 1 == r->r.slots ? 0 : r->index + 1;
	r->header = header(&r->region, r->index);
	ring_if_armed(r->bell);
	return 0;
}

static const struct hk_send_ops send_ops = {
	.reserve = shm_reserve,
	.commit = shm_commit,
	.lends = shm_lends,
	.lend = shm_lend,
	.flush = shm_flush,
};

static const struct hk_recv_ops recv_ops = {
	.peek = shm_peek,
	.release = shm_release,
};

/* --- sleeping --- */

static void shm_arm(struct hk_endpoint *ep)
{
	struct shm_endpoint *e = endpoint(ep);

	/* The look that follows must be a real one. */
	for (struct shm_send *s = e->sends; s; s = s->next)
		s->look_at = 0;
	atomic_store_explicit(&e->bell->armed, 1, memory_order_seq_cst);
	if (e->ordered)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

static void shm_wait(struct hk_endpoint *ep, int64_t timeout_ns)
{
	struct shm_endpoint *e = endpoint(ep);
	struct timespec t;

	if (!e->ordered && timeout_ns > SHORT_SLEEP_NS)
		timeout_ns = SHORT_SLEEP_NS;
	t.tv_sec = timeout_ns / 1000000000;
	t.tv_nsec = timeout_ns % 1000000000;
	futex(&e->bell->armed, FUTEX_WAIT, 1, &t);
	atomic_store_explicit(&e->bell->armed, 0, memory_order_relaxed);
}

/* --- control path --- */

static int create_segment(struct shm_endpoint *e)
{
	size_t bytes = PAGE + (size_t)e->env.nranks * e->env.channels * e->region_bytes;
	int err;

	e->fd = memfd_create("hocket", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (e->fd < 0)
		return hk_fail(errno, "memfd_create failed: %s; shared memory can't be used",
			       strerror(errno));
	/* Sealed against shrinking, so that no peer can make another's access fault. */
	if (ftruncate(e->fd, (off_t)bytes) < 0 || fcntl(e->fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		err = hk_fail(errno, "a shared memory segment of %zu bytes was refused: %s", bytes,
			      strerror(errno));
		goto close_fd;
	}
	e->bell = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, 0);
	if (e->bell == MAP_FAILED) {
		err = hk_fail(errno, "mapping shared memory failed: %s", strerror(errno));
		goto close_fd;
	}
	return 0;
close_fd:
	close(e->fd);
	return err;
}

static int shm_open_endpoint(const struct hk_endpoint_env *env, struct hk_endpoint **ep,
			     struct hk_addr *addr)
{
	struct shm_addr a = {ADDR_MAGIC, env->host};
	struct shm_endpoint *e;
	int err;

	if (!env->wire || env->slots > MAX_SLOTS)
		return -ENOTSUP;
	e = calloc(1, sizeof(*e));
	if (!e)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	e->ep = (struct hk_endpoint){&hk_transport_shm, env->rank, env->nranks};
	e->env = *env;
	e->region_bytes = PAGE + (size_t)env->slots * env->slot_bytes;
	e->ordered = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
	e->peers = calloc((size_t)env->nranks, sizeof(*e->peers));
	if (!e->peers) {
		err = hk_fail(ENOMEM, "no memory for %d peers", env->nranks);
		goto free_endpoint;
	}
	err = create_segment(e);
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
	munmap(e->bell, PAGE);
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
	if (a.magic != ADDR_MAGIC || a.host != endpoint(ep)->env.host)
		return false;
	*cost = (struct hk_cost){.latency_ns = 150, .ns_per_byte = 0.08};
	return true;
}

/* Maps the peer's bell and keeps its segment's descriptor, at the first connection with it. */
static int meet(struct shm_endpoint *e, int peer)
{
	struct shm_peer *p = &e->peers[peer];
	struct stat st;
	int fd, err;

	if (p->bell)
		return 0;
	err = e->env.wire->ops->fetch(e->env.wire, peer, TAG, &fd);
	if (err)
		return err;
	if (fstat(fd, &st) < 0 ||
	    (size_t)st.st_size < PAGE + (size_t)e->env.nranks * e->env.channels * e->region_bytes) {
		close(fd);
		return hk_fail(HK_EWIRE,
			       "rank %d's shared memory segment is too small; do all ranks have "
			       "the same HOCKET_SLOTS and HOCKET_SLOT_BYTES?",
			       peer);
	}
	p->bell = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->bell == MAP_FAILED) {
		p->bell = NULL;
		err = hk_fail(errno, "mapping rank %d's memory failed: %s", peer, strerror(errno));
		close(fd);
		return err;
	}
	p->fd = fd;
	return 0;
}

/* Maps the region of the connection from `source` on `channel` in the segment fd. */
static int map_region(struct shm_endpoint *e, int fd, int source, uint32_t channel,
		      struct shm_region *region)
{
	size_t index = (size_t)source * e->env.channels + channel;
	void *p;

	p = mmap(NULL, e->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 (off_t)(PAGE + index * e->region_bytes));
	if (p == MAP_FAILED)
		return hk_fail(errno, "mapping %zu bytes of shared memory failed: %s",
			       e->region_bytes, strerror(errno));
	region->base = p;
	region->slots = region->base + PAGE;
	return 0;
}

static int shm_connect_send(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_send **conn)
{
	struct shm_endpoint *e = endpoint(ep);
	struct shm_send *s;
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
	s->s = (struct hk_send){.ops = &send_ops,
				.ep = ep,
				.peer = peer,
				.channel = channel,
				.slots = e->env.slots,
				.slot_bytes = e->env.slot_bytes};
	s->bell = e->peers[peer].bell;
	s->ways.read_cost = credit(&s->region)->read_cost;
	s->header = header(&s->region, 0);
	s->next = e->sends;
	e->sends = s;
	*conn = &s->s;
	return 0;
}

static int shm_connect_recv(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_recv **conn)
{
	struct shm_endpoint *e = endpoint(ep);
	struct shm_recv *r;
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
	r->r = (struct hk_recv){&recv_ops, ep, peer, channel, e->env.slots, e->env.slot_bytes};
	r->bell = e->peers[peer].bell;
	r->header = header(&r->region, 0);
	r->next = e->recvs;
	e->recvs = r;
	*conn = &r->r;
	return 0;
}

static int shm_attach(struct hk_endpoint *ep, const struct hk_memory *m)
{
	struct shm_endpoint *e = endpoint(ep);

	return hk_lender_attach(&e->lender, e->env.wire, FILE_TAG, m);
}

static void shm_detach(struct hk_endpoint *ep, const struct hk_memory *m)
{
	hk_lender_detach(&endpoint(ep)->lender, m);
}

static size_t shm_memory(struct hk_endpoint *ep)
{
	struct shm_endpoint *e = endpoint(ep);
	size_t bytes = sizeof(*e) + (size_t)ep->nranks * sizeof(*e->peers);
	struct stat st;

	/* The pages that exist; each belongs to its receiver, so nothing is counted twice. */
	if (fstat(e->fd, &st) == 0)
		bytes += (size_t)st.st_blocks * 512;
	for (struct shm_send *s = e->sends; s; s = s->next)
		bytes += sizeof(*s);
	for (struct shm_recv *r = e->recvs; r; r = r->next)
		bytes += sizeof(*r);
	return bytes;
}

static void shm_close(struct hk_endpoint *ep)
{
	struct shm_endpoint *e = endpoint(ep);

	if (!e)
		return;
	while (e->sends) {
		struct shm_send *s = e->sends;

		e->sends = s->next;
		hk_log(HK_LOG_TRACE,
		       "rank %d to %d, channel %u: %u large messages, %u lendable; cost cached %u, "
		       "bypass %u, lent %u",
		       ep->rank, s->s.peer, s->s.channel, s->ways.filled, s->ways.offered,
		       (unsigned)hk_way_cost(&s->ways, HK_WAY_CACHED),
		       (unsigned)hk_way_cost(&s->ways, HK_WAY_BYPASS),
		       (unsigned)hk_way_cost(&s->ways, HK_WAY_LENT));
		atomic_store_explicit(sender_gone(&s->region), 1, memory_order_release);
		ring_if_armed(s->bell);
		munmap(s->region.base, e->region_bytes);
		free(s);
	}
	while (e->recvs) {
		struct shm_recv *r = e->recvs;

		e->recvs = r->next;
		atomic_store_explicit(&credit(&r->region)->gone, 1, memory_order_release);
		ring_if_armed(r->bell);
		munmap(r->region.base, e->region_bytes);
		free(r);
	}
	for (int i = 0; i < ep->nranks; i++) {
		hk_borrower_close(&e->peers[i].borrowed);
		if (!e->peers[i].bell)
			continue;
		munmap(e->peers[i].bell, PAGE);
		close(e->peers[i].fd);
	}
	munmap(e->bell, PAGE);
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
	.memory = shm_memory,
	.close = shm_close,
};
