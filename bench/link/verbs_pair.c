/* SPDX-License-Identifier: BSD-3-Clause */
/* See verbs_pair.h. Rail i of one rank is connected with rail i of the other. */
#include "verbs_pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "param.h"

#define MOST_INLINE 256u

/* What a rank tells of one rail. */
struct address {
	uint8_t gid[16];
	uint64_t at;
	uint32_t qpn, key;
	uint32_t lid, mtu;
};

struct card {
	uint32_t nrails, unused;
	struct address rails[HK_LP_RAILS];
};

static int no_resource(const struct hk_ib_port *port, const char *what)
{
	int err = errno ? errno : ENOMEM;

	return hk_fail(err,
		       "%s gives no %s: %s (is the limit of locked memory, ulimit -l, high "
		       "enough?)",
		       port->name, what, strerror(err));
}

/* --- one rail --- */

static int make_qp(struct hk_lp_rail *r, const struct hk_ib_port *port)
{
	struct ibv_qp_init_attr attr;

	/* A device says no to more inline data than it has room for. */
	for (uint32_t bytes = MOST_INLINE;; bytes /= 2) {
		attr = (struct ibv_qp_init_attr){
			.send_cq = r->sends,
			.recv_cq = r->receives,
			.qp_type = IBV_QPT_RC,
			.cap = {.max_send_wr = HK_LP_WINDOW + 2,
				.max_recv_wr = 2 * HK_LP_WINDOW,
				.max_send_sge = 1,
				.max_recv_sge = 1,
				.max_inline_data = bytes},
		};
		r->qp = hk_ibv()->create_qp(r->pd, &attr);
		if (r->qp || !bytes)
			break;
	}
	if (!r->qp)
		return no_resource(port, "queue pair");
	r->inline_bytes = attr.cap.max_inline_data;
	return 0;
}

static int make_rail(struct hk_lp_pair *p, unsigned i)
{
	const struct hk_ib_port *port = &p->ports[i];
	struct hk_lp_rail *r = &p->rails[i];

	errno = 0;
	r->pd = hk_ibv()->alloc_pd(port->ctx);
	if (!r->pd)
		return no_resource(port, "protection domain");
	r->mr = hk_ibv()->reg_mr(r->pd, p->memory, p->bytes,
				 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!r->mr)
		return no_resource(port, "registration of memory");
	r->sends = hk_ibv()->create_cq(port->ctx, (int)HK_LP_WINDOW + 2, NULL, NULL, 0);
	r->receives = hk_ibv()->create_cq(port->ctx, (int)(2 * HK_LP_WINDOW), NULL, NULL, 0);
	if (!r->sends || !r->receives)
		return no_resource(port, "completion queue");
	return make_qp(r, port);
}

static void free_rail(struct hk_lp_rail *r)
{
	if (r->qp)
		hk_ibv()->destroy_qp(r->qp);
	if (r->sends)
		hk_ibv()->destroy_cq(r->sends);
	if (r->receives)
		hk_ibv()->destroy_cq(r->receives);
	if (r->mr)
		hk_ibv()->dereg_mr(r->mr);
	if (r->pd)
		hk_ibv()->dealloc_pd(r->pd);
}

/* --- connecting --- */

static int to_init(struct hk_lp_rail *r, const struct hk_ib_port *port)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.pkey_index = port->pkey_index,
		.port_num = port->port,
		.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
	};

	return hk_ibv()->modify_qp(
		r->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int to_receive(struct hk_lp_rail *r, const struct hk_ib_port *port, const struct address *to)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = to->mtu < port->mtu ? (enum ibv_mtu)to->mtu : port->mtu,
		.dest_qp_num = to->qpn,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 1,
		.ah_attr = {.dlid = (uint16_t)to->lid,
			    .sl = (uint8_t)hk_param(HK_PARAM_IB_SL),
			    .port_num = port->port},
	};

	if (port->gid_index >= 0) {
		attr.ah_attr.is_global = 1;
		memcpy(attr.ah_attr.grh.dgid.raw, to->gid, sizeof(to->gid));
		attr.ah_attr.grh.sgid_index = (uint8_t)port->gid_index;
		attr.ah_attr.grh.hop_limit = 64;
		attr.ah_attr.grh.traffic_class = (uint8_t)hk_param(HK_PARAM_IB_TC);
	}
	return hk_ibv()->modify_qp(r->qp, &attr,
				   IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
					   IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					   IBV_QP_MIN_RNR_TIMER);
}

static int to_send(struct hk_lp_rail *r)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = (uint8_t)hk_param(HK_PARAM_IB_TIMEOUT),
		.retry_cnt = (uint8_t)hk_param(HK_PARAM_IB_RETRY_CNT),
		.rnr_retry = 7, /* for ever: a receiver may be slow to take */
		.max_rd_atomic = 1,
	};

	return hk_ibv()->modify_qp(r->qp, &attr,
				   IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
					   IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
					   IBV_QP_MAX_QP_RD_ATOMIC);
}

static int connect_rail(struct hk_lp_rail *r, const struct hk_ib_port *port,
			const struct address *to)
{
	int err = to_init(r, port);

	r->peer_at = to->at;
	r->peer_key = to->key;
	if (!err)
		err = to_receive(r, port, to);
	if (!err)
		err = to_send(r);
	if (!err)
		return 0;
	return hk_fail(err,
		       "a queue pair on %s can't be connected with the other rank's: %s (are both "
		       "ports of one network, and of one kind of GID? `hocket doctor` shows them)",
		       port->name, strerror(err));
}

static void write_card(const struct hk_lp_pair *p, struct card *card)
{
	*card = (struct card){.nrails = p->nrails};
	for (unsigned i = 0; i < p->nrails; i++) {
		const struct hk_ib_port *port = &p->ports[i];
		struct address *a = &card->rails[i];

		*a = (struct address){.at = (uintptr_t)p->memory,
				      .qpn = p->rails[i].qp->qp_num,
				      .key = p->rails[i].mr->rkey,
				      .lid = port->lid,
				      .mtu = (uint32_t)port->mtu};
		memcpy(a->gid, port->gid.raw, sizeof(a->gid));
	}
}

/* Each rank's own part; the peer learns by the card whether it went well. */
static int prepare(struct hk_lp_run *run, size_t bytes, struct hk_lp_pair *p)
{
	unsigned most = (unsigned)hk_param(HK_PARAM_IB_RAILS);
	int err = hk_ib_open((unsigned)run->rank, most < HK_LP_RAILS ? most : HK_LP_RAILS, p->ports,
			     &p->nports);

	if (err)
		return err;
	p->bytes = (bytes + 4095) / 4096 * 4096;
	p->memory = aligned_alloc(4096, p->bytes);
	if (!p->memory)
		return hk_fail(ENOMEM, "no memory for %zu bytes", bytes);
	memset(p->memory, 0, p->bytes);
	for (unsigned i = 0; i < p->nports && !err; i++) {
		err = make_rail(p, i);
		p->nrails = i + 1; /* also what is half made is freed */
	}
	return err;
}

int hk_lp_pair_open(struct hk_lp_run *run, size_t bytes, struct hk_lp_pair *p)
{
	struct card mine = {0}, theirs = {0};
	int err;

	memset(p, 0, sizeof(*p));
	err = prepare(run, bytes, p);
	if (!err)
		write_card(p, &mine);
	if (hk_lp_swap(run, &mine, &theirs, sizeof(mine)))
		err = err ? err : hk_fail(HK_EPEER, "the other rank does not answer");
	if (!err && !theirs.nrails)
		err = hk_fail_quiet(ENOTSUP, "the other rank has no RDMA");
	for (unsigned i = theirs.nrails; i < p->nrails; i++)
		free_rail(&p->rails[i]);
	if (p->nrails > theirs.nrails)
		p->nrails = theirs.nrails;
	for (unsigned i = 0; i < p->nrails && !err; i++)
		err = connect_rail(&p->rails[i], &p->ports[i], &theirs.rails[i]);
	if (err)
		hk_lp_pair_close(p);
	return err;
}

void hk_lp_pair_close(struct hk_lp_pair *p)
{
	for (unsigned i = 0; i < p->nrails; i++)
		free_rail(&p->rails[i]);
	hk_ib_close(p->ports, p->nports);
	free(p->memory);
	memset(p, 0, sizeof(*p));
}
