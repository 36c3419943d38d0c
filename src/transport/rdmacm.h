/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * librdmacm, opened when HOCKET_IB_CM=rdmacm asks for it, as ibv.h does with libibverbs. Its
 * functions are called through hk_rdmacm(), by their names without "rdma_".
 */
#ifndef HK_TRANSPORT_RDMACM_H
#define HK_TRANSPORT_RDMACM_H

#include <rdma/rdma_cma.h>

struct hk_rdmacm {
	struct rdma_event_channel *(*create_event_channel)(void);
	void (*destroy_event_channel)(struct rdma_event_channel *channel);
	int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
			 enum rdma_port_space ps);
	int (*destroy_id)(struct rdma_cm_id *id);
	int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *addr);
	int (*resolve_addr)(struct rdma_cm_id *id, struct sockaddr *src, struct sockaddr *dst,
			    int timeout_ms);
	int (*resolve_route)(struct rdma_cm_id *id, int timeout_ms);
	int (*listen)(struct rdma_cm_id *id, int backlog);
	int (*connect)(struct rdma_cm_id *id, struct rdma_conn_param *param);
	int (*accept)(struct rdma_cm_id *id, struct rdma_conn_param *param);
	int (*reject)(struct rdma_cm_id *id, const void *data, uint8_t bytes);
	int (*establish)(struct rdma_cm_id *id);
	int (*init_qp_attr)(struct rdma_cm_id *id, struct ibv_qp_attr *attr, int *mask);
	int (*get_cm_event)(struct rdma_event_channel *channel, struct rdma_cm_event **event);
	int (*ack_cm_event)(struct rdma_cm_event *event);
	const char *(*event_str)(enum rdma_cm_event_type event);
	__be16 (*get_src_port)(struct rdma_cm_id *id);
};

/* The library, opened once in the process and never closed; NULL if it can't be had. */
const struct hk_rdmacm *hk_rdmacm(void);
/* Why hk_rdmacm() is NULL, as a clause for people. */
const char *hk_rdmacm_problem(void);

#endif
