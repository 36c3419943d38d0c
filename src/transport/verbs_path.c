/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paths: reliable queue pairs. A path gets a new queue pair each time that it comes about, with a
 * new number and new random packet numbers, so that packets of an earlier one find nobody. What is
 * posted on it is noted in a ring, which its completions, in the same order, work off. Buffers are
 * posted for what comes: control messages lie in them, immediates only use them up.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "param.h"
#include "verbs.h"

#define INLINE_BYTES 192 /* asked for; a device that has less says so */
#define SIGNAL_EVERY 32u /* work requests that nobody waits for */
#define HOP_LIMIT    64
#define STACK_BYTES  (256 << 10) /* of a thread that connects */

/* Takes room for a path in the completion queue of its rail. */
static int claim(struct hk_verbs_rail *rail)
{
	const unsigned more = HK_VERBS_SENDS + HK_VERBS_RECVS;
	unsigned depth = rail->depth;
	int err;

	while (depth < rail->claimed + more)
		depth *= 2;
	if (depth > rail->depth) {
		err = hk_ibv()->resize_cq(rail->cq, (int)depth);
		if (err)
			return hk_fail(
				err,
				"the completion queue of %s does not grow to %u entries: %s; "
				"the device's limit is what `ibv_devinfo -v` calls max_cqe",
				rail->port.name, depth, strerror(err));
		rail->depth = depth;
	}
	rail->claimed += more;
	return 0;
}

static int create(struct hk_verbs_path *p, struct hk_verbs_rail *rail)
{
	struct ibv_qp_init_attr init = {
		.send_cq = rail->cq,
		.recv_cq = rail->cq,
		.qp_type = IBV_QPT_RC,
		.cap = {HK_VERBS_SENDS, HK_VERBS_RECVS, 2, 1, INLINE_BYTES},
	};

	p->qp = hk_ibv()->create_qp(rail->pd, &init);
	if (!p->qp) { /* some devices have no such inline data */
		init.cap = (struct ibv_qp_cap){HK_VERBS_SENDS, HK_VERBS_RECVS, 2, 1, 0};
		p->qp = hk_ibv()->create_qp(rail->pd, &init);
	}
	if (!p->qp)
		return hk_fail(errno ? errno : ENOMEM,
			       "%s gives no queue pair for rank %d: %s; if memory is locked up, "
			       "raise its limit (ulimit -l unlimited)",
			       rail->port.name, p->link->peer, strerror(errno));
	rail->inline_bytes = init.cap.max_inline_data;
	rail->immediates = !rail->port.iwarp && hk_param(HK_PARAM_IB_IMMEDIATE);
	if (rail->immediates || rail->inline_bytes >= sizeof(uint32_t))
		return 0;
	hk_ibv()->destroy_qp(p->qp);
	p->qp = NULL;
	return hk_fail(ENOTSUP, "%s has neither immediates nor inline messages", rail->port.name);
}

static int to_init(struct hk_verbs_path *p, const struct hk_ib_port *port)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.pkey_index = port->pkey_index,
		.port_num = port->port,
		.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
	};

	return hk_ibv()->modify_qp(
		p->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static uint64_t receive_id(const struct hk_verbs_path *p, uint32_t buffer)
{
	return HK_VERBS_ID_RECV | (uint64_t)p->place << 48 | (uint64_t)p->generation << 32 | buffer;
}

int hk_verbs_path_receive(struct hk_verbs_path *p, uint32_t buffer)
{
	/* The last one has room for a probe. */
	struct ibv_sge sge = {(uintptr_t)p->buffers.base + (size_t)buffer * HK_VERBS_CONTROL,
			      buffer == HK_VERBS_RECVS - 1 ? HK_VERBS_PROBE : HK_VERBS_CONTROL,
			      p->buffers.mr[p->rail]->lkey};
	struct ibv_recv_wr wr = {.wr_id = receive_id(p, buffer), .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;
	int err = ibv_post_recv(p->qp, &wr, &bad);

	if (err)
		return -err;
	p->receives++;
	return 0;
}

int hk_verbs_path_open(struct hk_verbs_path *p)
{
	struct hk_verbs_rail *rail = &p->link->ep->rails[p->rail];
	int err = create(p, rail);

	if (err)
		return err;
	err = to_init(p, &rail->port);
	p->posted = p->completed = p->quiet = p->receives = 0;
	p->posted_bytes = p->completed_bytes = 0;
	p->psn = (uint32_t)(hk_ticks() * 0x9e3779b97f4a7c15ull >> 40);
	/* What comes first is a probe. */
	for (uint32_t i = HK_VERBS_RECVS; i && !err; i--)
		err = -hk_verbs_path_receive(p, i - 1);
	if (err) {
		hk_verbs_path_close(p);
		return hk_fail(err, "a queue pair of %s for rank %d could not be set up: %s",
			       rail->port.name, p->link->peer, strerror(err));
	}
	p->state = HK_PATH_JOINING;
	p->since = hk_now_ns();
	return 0;
}

void hk_verbs_limit_mtu(struct hk_ib_port *port)
{
	int64_t most = hk_param(HK_PARAM_IB_MTU);

	while (most && port->mtu > IBV_MTU_256 && (INT64_C(128) << port->mtu) > most)
		port->mtu--;
}

void hk_verbs_path_address(const struct hk_verbs_path *p, struct hk_verbs_address *a)
{
	const struct hk_ib_port *port = &p->link->ep->rails[p->rail].port;

	*a = (struct hk_verbs_address){.qpn = htole32(p->qp->qp_num),
				       .psn = htole32(p->psn),
				       .lid = htole16(port->lid),
				       .mtu = (uint8_t)port->mtu};
	memcpy(a->gid, port->gid.raw, sizeof(a->gid));
}

static void set_route(const struct hk_ib_port *port, const struct hk_verbs_address *a,
		      struct ibv_ah_attr *ah)
{
	ah->dlid = le16toh(a->lid);
	ah->sl = (uint8_t)hk_param(HK_PARAM_IB_SL);
	ah->port_num = port->port;
	ah->is_global = port->roce || port->global;
	if (!ah->is_global)
		return;
	memcpy(ah->grh.dgid.raw, a->gid, sizeof(a->gid));
	ah->grh.sgid_index = (uint8_t)port->gid_index;
	ah->grh.hop_limit = HOP_LIMIT;
	ah->grh.traffic_class = (uint8_t)hk_param(HK_PARAM_IB_TC);
}

static enum ibv_mtu smaller_mtu(const struct hk_verbs_address *a, const struct hk_ib_port *port)
{
	return a->mtu < port->mtu ? (enum ibv_mtu)a->mtu : port->mtu;
}

/* Once: one wrong port may have many peers. */
static void advise_mtu(const struct hk_verbs_path *p, const struct hk_verbs_address *a,
		       const struct hk_ib_port *port)
{
	struct hk_verbs_endpoint *ep = p->link->ep;

	if (a->mtu == port->mtu || ep->told_mtu)
		return;
	ep->told_mtu = true;
	hk_log(HK_LOG_WARN,
	       "the MTU of %s (%s) here is %u bytes, that of %s of rank %d on host %s %u: the "
	       "smaller one is used, which costs bandwidth; set the same on all hosts and switches",
	       port->name, port->netdev, 128u << port->mtu, p->peer_port, p->link->peer,
	       p->link->host, 128u << a->mtu);
}

/* The two steps of connecting a queue pair; the first may wait a second for an address to be found.
 */
struct hk_verbs_connecting {
	struct ibv_qp *qp;
	struct ibv_qp_attr receive, send;
	struct hk_verbs_address peer;
	pthread_t thread;
	bool threaded;
	atomic_bool done;
	int err;
};

static int prepare(const struct hk_verbs_path *p, const struct hk_verbs_address *a,
		   struct hk_verbs_connecting *c)
{
	const struct hk_ib_port *port = &p->link->ep->rails[p->rail].port;

	if (a->mtu < IBV_MTU_256 || a->mtu > IBV_MTU_4096)
		return hk_fail(HK_EWIRE, "rank %d says that the MTU of its port is number %u",
			       p->link->peer, a->mtu);
	*c = (struct hk_verbs_connecting){.qp = p->qp, .peer = *a};
	c->receive = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = smaller_mtu(a, port),
		.dest_qp_num = le32toh(a->qpn),
		.rq_psn = le32toh(a->psn),
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = HK_VERBS_RNR_TIMER,
	};
	set_route(port, a, &c->receive.ah_attr);
	c->send = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.timeout = (uint8_t)hk_param(HK_PARAM_IB_TIMEOUT),
		.retry_cnt = (uint8_t)hk_param(HK_PARAM_IB_RETRY_CNT),
		.rnr_retry = 7, /* for ever: the peer looks when it does, or is dead */
		.sq_psn = p->psn,
		.max_rd_atomic = 1,
	};
	return 0;
}

static void carry_out(struct hk_verbs_connecting *c)
{
	c->err = hk_ibv()->modify_qp(c->qp, &c->receive,
				     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
					     IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					     IBV_QP_MIN_RNR_TIMER);
	if (!c->err)
		c->err = hk_ibv()->modify_qp(c->qp, &c->send,
					     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
						     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
						     IBV_QP_MAX_QP_RD_ATOMIC);
}

static int conclude(struct hk_verbs_path *p, const struct hk_verbs_connecting *c)
{
	const struct hk_ib_port *port = &p->link->ep->rails[p->rail].port;

	if (c->err) {
		snprintf(p->why, sizeof(p->why), "%s", strerror(c->err));
		return (p->generation ? hk_fail_quiet : hk_fail)(
			c->err,
			"%s can't be connected with rank %d on host %s (%s): %s; is there a "
			"route between their addresses, and is HOCKET_IB_GID_INDEX of the "
			"same kind on both?",
			port->name, p->link->peer, p->link->host, p->peer_port, strerror(c->err));
	}
	p->packet = 128u << c->receive.path_mtu;
	advise_mtu(p, &c->peer, port);
	p->state = HK_PATH_PROBING;
	p->since = hk_now_ns();
	return 0;
}

int hk_verbs_path_connect(struct hk_verbs_path *p, const struct hk_verbs_address *a)
{
	struct hk_verbs_connecting c;
	int err = prepare(p, a, &c);

	if (err)
		return err;
	carry_out(&c);
	return conclude(p, &c);
}

static void *connecting(void *arg)
{
	struct hk_verbs_connecting *c = arg;

	carry_out(c);
	atomic_store(&c->done, true);
	return NULL;
}

static int start_thread(struct hk_verbs_connecting *c)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int err = pthread_attr_init(&attr);

	if (err)
		return err;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all); /* signals are for the application's threads */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&c->thread, &attr, connecting, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

int hk_verbs_path_connect_begin(struct hk_verbs_path *p, const struct hk_verbs_address *a)
{
	struct hk_verbs_connecting *c = calloc(1, sizeof(*c));
	int err = c ? prepare(p, a, c)
		    : hk_fail(ENOMEM, "no memory for a queue pair to rank %d", p->link->peer);

	if (err) {
		free(c);
		return err;
	}
	c->threaded = !start_thread(c);
	if (!c->threaded) {
		carry_out(c);
		atomic_store(&c->done, true);
	}
	p->connecting = c;
	p->doomed = false;
	p->state = HK_PATH_CONNECTING;
	p->since = hk_now_ns();
	return 0;
}

static void join(struct hk_verbs_path *p)
{
	if (p->connecting && p->connecting->threaded)
		pthread_join(p->connecting->thread, NULL);
}

int hk_verbs_path_connect_end(struct hk_verbs_path *p)
{
	int err;

	if (!atomic_load(&p->connecting->done))
		return -EAGAIN;
	join(p);
	err = conclude(p, p->connecting);
	free(p->connecting);
	p->connecting = NULL;
	if (err)
		p->state = HK_PATH_PROBING; /* from here on it is lost like others */
	return err;
}

void hk_verbs_path_stop(struct hk_verbs_path *p)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	if (p->qp)
		hk_ibv()->modify_qp(p->qp, &attr, IBV_QP_STATE);
}

void hk_verbs_path_close(struct hk_verbs_path *p)
{
	if (!p->qp)
		return;
	join(p);
	free(p->connecting);
	p->connecting = NULL;
	hk_ibv()->destroy_qp(p->qp);
	hk_verbs_cm_drop(p);
	p->qp = NULL;
	/* Completions of it that are still queued are nobody's any more. */
	p->generation++;
	p->receives = 0;
}

int hk_verbs_path_new(struct hk_verbs_link *l, unsigned index, unsigned rail)
{
	struct hk_verbs_endpoint *ep = l->ep;
	struct hk_verbs_path *p;
	int err;

	if (ep->npaths == ep->room) {
		unsigned room = ep->room ? 2 * ep->room : 16;
		struct hk_verbs_path **paths = realloc(ep->paths, room * sizeof(*paths));

		if (!paths || room > HK_VERBS_MOST_PATHS) {
			ep->paths = paths ? paths : ep->paths;
			return hk_fail(ENOMEM, "no room for another queue pair, to rank %d",
				       l->peer);
		}
		ep->paths = paths;
		ep->room = room;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return hk_fail(ENOMEM, "no memory for a queue pair to rank %d", l->peer);
	p->link = l;
	p->index = index;
	p->rail = rail;
	err = claim(&ep->rails[rail]);
	if (!err)
		err = hk_verbs_memory_get(
			ep, (size_t)(HK_VERBS_RECVS - 1) * HK_VERBS_CONTROL + HK_VERBS_PROBE,
			&p->buffers);
	if (err) {
		free(p);
		return err;
	}
	p->place = ep->npaths;
	ep->paths[ep->npaths++] = p;
	ep->memory += sizeof(*p);
	l->paths[index] = p;
	return 0;
}

void hk_verbs_path_free(struct hk_verbs_path *p)
{
	struct hk_verbs_endpoint *ep;

	if (!p)
		return;
	ep = p->link->ep;
	hk_verbs_path_close(p);
	hk_verbs_memory_put(ep, &p->buffers);
	ep->paths[p->place] = NULL;
	ep->memory -= sizeof(*p);
	free(p);
}

int hk_verbs_path_post(struct hk_verbs_path *p, struct ibv_send_wr *wr, bool signal, bool probe,
		       uint32_t bytes)
{
	struct hk_verbs_posted *note = &p->ring[p->posted % HK_VERBS_SENDS];
	struct ibv_send_wr *bad;
	int err;

	wr->wr_id = (uint64_t)p->place << 48 | (uint64_t)p->generation << 32 | p->posted;
	signal = signal || ++p->quiet >= SIGNAL_EVERY;
	if (signal) {
		wr->send_flags |= IBV_SEND_SIGNALED;
		p->quiet = 0;
	}
	err = ibv_post_send(p->qp, wr, &bad);
	if (err)
		return -err;
	p->posted_bytes += bytes;
	*note = (struct hk_verbs_posted){p->posted_bytes, probe};
	p->posted++;
	return 0;
}

void hk_verbs_path_ask(struct hk_verbs_path *p)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_INLINE};

	if (p->state == HK_PATH_UP && p->quiet && hk_verbs_path_has_room(p) &&
	    hk_verbs_path_post(p, &wr, true, false, 0))
		hk_verbs_path_lost(p, "it takes no more work requests");
}

int hk_verbs_path_announce(struct hk_verbs_path *p, struct ibv_send_wr *wr, uint32_t imm,
			   bool signal, uint32_t bytes)
{
	uint32_t word = htobe32(imm);
	struct ibv_sge sge = {(uintptr_t)&word, sizeof(word), 0};
	struct ibv_send_wr message = {.sg_list = &sge,
				      .num_sge = 1,
				      .opcode = IBV_WR_SEND,
				      .send_flags = IBV_SEND_INLINE};
	int err = 0;

	if (p->link->ep->rails[p->rail].immediates) {
		wr->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
		wr->imm_data = word;
		return hk_verbs_path_post(p, wr, signal, false, bytes);
	}
	/* Messages are taken in order, after what was written before them. */
	wr->opcode = IBV_WR_RDMA_WRITE;
	if (wr->num_sge)
		err = hk_verbs_path_post(p, wr, false, false, bytes);
	return err ? err : hk_verbs_path_post(p, &message, signal, false, 0);
}
