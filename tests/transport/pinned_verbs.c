/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first RDMA device that is up, and two queue pairs of it that are connected to each other.
 * What a registration holds is found out by writing from it, by RDMA, into a buffer of our own.
 */
#include "pinned.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ibv.h"

#define NO_DEVICE 77
#define PORT	  1

struct pinned {
	struct hk_reg reg;
	struct ibv_mr *mr;
};

static struct {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qps[2];
	struct ibv_mr *mr;
	uint64_t arrived;
	pthread_mutex_t lock;
} d = {.lock = PTHREAD_MUTEX_INITIALIZER};

const bool pinned_in_child = false;

static bool is_up(struct ibv_context *ctx, struct ibv_port_attr *port)
{
	return ctx && hk_ibv()->query_port(ctx, PORT, port) == 0 && port->state == IBV_PORT_ACTIVE;
}

static bool find_card(struct ibv_port_attr *port)
{
	int n = 0;
	struct ibv_device **list = hk_ibv() ? hk_ibv()->get_device_list(&n) : NULL;

	for (int i = 0; i < n && !d.ctx; i++) {
		d.ctx = hk_ibv()->open_device(list[i]);
		if (d.ctx && !is_up(d.ctx, port)) {
			hk_ibv()->close_device(d.ctx);
			d.ctx = NULL;
		}
	}
	if (list)
		hk_ibv()->free_device_list(list);
	return d.ctx != NULL;
}

static int connect_to(struct ibv_qp *qp, const struct ibv_qp *other, const union ibv_gid *gid,
		      const struct ibv_port_attr *port)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_INIT,
				.port_num = PORT,
				.qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
	int err = hk_ibv()->modify_qp(
		qp, &a, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);

	if (err)
		return err;
	a = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR,
				 .path_mtu = port->active_mtu,
				 .dest_qp_num = other->qp_num,
				 .max_dest_rd_atomic = 1,
				 .min_rnr_timer = 12,
				 .ah_attr = {.is_global = 1,
					     .grh = {.dgid = *gid, .hop_limit = 64},
					     .dlid = port->lid,
					     .port_num = PORT}};
	err = hk_ibv()->modify_qp(qp, &a,
				  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
					  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					  IBV_QP_MIN_RNR_TIMER);
	if (err)
		return err;
	a = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 6, .max_rd_atomic = 1};
	return hk_ibv()->modify_qp(qp, &a,
				   IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
					   IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
					   IBV_QP_MAX_QP_RD_ATOMIC);
}

int pinned_open(void)
{
	struct ibv_qp_init_attr init = {
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = 4, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};
	struct ibv_port_attr port;
	union ibv_gid gid;

	if (!find_card(&port)) {
		printf("SKIPPED: no RDMA device is up\n");
		return NO_DEVICE;
	}
	d.pd = hk_ibv()->alloc_pd(d.ctx);
	d.cq = hk_ibv()->create_cq(d.ctx, 8, NULL, NULL, 0);
	init.send_cq = init.recv_cq = d.cq;
	if (d.pd && d.cq) {
		d.mr = hk_ibv()->reg_mr(d.pd, &d.arrived, sizeof(d.arrived),
					IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
		d.qps[0] = hk_ibv()->create_qp(d.pd, &init);
		d.qps[1] = hk_ibv()->create_qp(d.pd, &init);
	}
	if (!d.mr || !d.qps[0] || !d.qps[1] || hk_ibv()->query_gid(d.ctx, PORT, 0, &gid) ||
	    connect_to(d.qps[0], d.qps[1], &gid, &port) ||
	    connect_to(d.qps[1], d.qps[0], &gid, &port)) {
		printf("the RDMA device can't be used: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}

int pinned_hold(void *base, size_t bytes, struct hk_reg **reg)
{
	struct pinned *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->mr = hk_ibv()->reg_mr(d.pd, base, bytes, IBV_ACCESS_LOCAL_WRITE);
	if (!p->mr) {
		free(p);
		return -errno;
	}
	*reg = &p->reg;
	return 0;
}

void pinned_drop(struct hk_reg *reg)
{
	struct pinned *p = (struct pinned *)reg;

	hk_ibv()->dereg_mr(p->mr);
	free(p);
}

/* Has the number at `at` written to d.arrived by the device. */
static int fetch(const struct ibv_mr *mr, uintptr_t at)
{
	struct ibv_sge sge = {at, sizeof(d.arrived), mr->lkey};
	struct ibv_send_wr *bad, wr = {.sg_list = &sge,
				       .num_sge = 1,
				       .opcode = IBV_WR_RDMA_WRITE,
				       .send_flags = IBV_SEND_SIGNALED,
				       .wr.rdma = {(uintptr_t)&d.arrived, d.mr->rkey}};
	struct ibv_wc wc;
	int n;

	if (ibv_post_send(d.qps[0], &wr, &bad))
		return -1;
	do
		n = ibv_poll_cq(d.cq, 1, &wc);
	while (n == 0);
	return n == 1 && wc.status == IBV_WC_SUCCESS ? 0 : -1;
}

int pinned_stale(const struct hk_reg *r, const void *at, size_t bytes)
{
	const struct pinned *p = (const struct pinned *)r;
	uintptr_t first = (uintptr_t)at / PAGE * PAGE;
	int stale = 0;

	pthread_mutex_lock(&d.lock);
	for (uintptr_t a = first; stale >= 0 && a < (uintptr_t)at + bytes; a += PAGE) {
		if (fetch(p->mr, a) < 0)
			stale = -1;
		else
			stale += *(const uint64_t *)a != d.arrived;
	}
	pthread_mutex_unlock(&d.lock);
	return stale;
}
