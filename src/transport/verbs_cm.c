/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another way to connect queue pairs: by the RDMA connection manager (HOCKET_IB_CM=rdmacm), for
 * fabrics where only it can, as iWARP, and where routes are found by addresses of the network
 * layer. What queue pairs belong together is still agreed over the bootstrap (verbs_meet.c), or
 * over other paths when one is renewed; then the lower rank calls the address that the other one
 * listens at, on the rail in question, with a token that only the two know.
 *
 * The queue pairs are ours, and the manager is asked for their attributes only. Its events are
 * looked at as the endpoint is tended.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "param.h"
#include "rdmacm.h"
#include "verbs.h"

#define RESOLVE_MS 1000
#define BACKLOG	   64
#define MAGIC	   0x6d636b68u /* "hkcm" */

/* What a caller says; little-endian. */
struct call {
	uint32_t magic, from, to;
	uint8_t path, zero;
	uint16_t generation;
	uint64_t token;
};

struct hk_verbs_cm {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listeners[HK_VERBS_RAILS];
};

bool hk_verbs_cm_wanted(void)
{
	const char *how = hk_param_str(HK_PARAM_IB_CM);

	return how && !strcmp(how, "rdmacm");
}

/* --- addresses --- */

static bool address_of_netdev(const struct hk_ib_port *port, struct sockaddr_storage *sa)
{
	struct ifaddrs *all = NULL;
	bool found = false;

	if (!port->netdev[0] || getifaddrs(&all))
		return false;
	for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		if (!i->ifa_addr || strcmp(i->ifa_name, port->netdev) ||
		    i->ifa_addr->sa_family != AF_INET)
			continue;
		memcpy(sa, i->ifa_addr, sizeof(struct sockaddr_in));
		found = true;
	}
	freeifaddrs(all);
	return found;
}

/* The network layer's address of a port: that of its GID, or else of its interface. */
static int address_of(const struct hk_ib_port *port, struct sockaddr_storage *sa)
{
	struct sockaddr_in *in = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	if (port->roce && port->net.family == AF_INET) {
		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, port->gid.raw + 12, 4);
	} else if (port->roce && port->net.family == AF_INET6 &&
		   !IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)port->gid.raw)) {
		in6->sin6_family = AF_INET6;
		memcpy(&in6->sin6_addr, port->gid.raw, 16);
	} else if (!address_of_netdev(port, sa)) {
		return hk_fail(EADDRNOTAVAIL,
			       "the rdmacm can't connect %s: its network interface (%s) has no IP "
			       "address; give it one, or unset HOCKET_IB_CM",
			       port->name, port->netdev[0] ? port->netdev : "unknown");
	}
	return 0;
}

static void set_port(struct sockaddr_storage *sa, uint16_t port)
{
	if (sa->ss_family == AF_INET)
		((struct sockaddr_in *)sa)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
}

/* --- the endpoint's --- */

static int listen_on(struct hk_verbs_endpoint *ep, unsigned rail)
{
	struct hk_verbs_cm *cm = ep->cm;
	struct sockaddr_storage sa;
	int err = address_of(&ep->rails[rail].port, &sa);

	if (err)
		return err;
	if (!hk_rdmacm()->create_id(cm->channel, &cm->listeners[rail], NULL, RDMA_PS_TCP) &&
	    !hk_rdmacm()->bind_addr(cm->listeners[rail], (struct sockaddr *)&sa) &&
	    !hk_rdmacm()->listen(cm->listeners[rail], BACKLOG))
		return 0;
	return hk_fail(errno,
		       "the rdmacm can't listen on %s: %s; is the module rdma_ucm loaded, and "
		       "/dev/infiniband/rdma_cm open to this user?",
		       ep->rails[rail].port.name, strerror(errno));
}

int hk_verbs_cm_open(struct hk_verbs_endpoint *ep)
{
	int err = 0;

	if (!hk_verbs_cm_wanted())
		return 0;
	if (!hk_rdmacm())
		return hk_fail(ENOTSUP, "HOCKET_IB_CM=rdmacm: %s", hk_rdmacm_problem());
	ep->cm = calloc(1, sizeof(*ep->cm));
	if (!ep->cm)
		return hk_fail(ENOMEM, "no memory for the connection manager");
	ep->cm->channel = hk_rdmacm()->create_event_channel();
	if (!ep->cm->channel ||
	    fcntl(ep->cm->channel->fd, F_SETFL, fcntl(ep->cm->channel->fd, F_GETFL) | O_NONBLOCK))
		return hk_fail(errno,
			       "no events from the rdmacm: %s; is the module rdma_ucm loaded, and "
			       "/dev/infiniband/rdma_cm open to this user?",
			       strerror(errno));
	for (unsigned i = 0; i < ep->nrails && !err; i++)
		err = listen_on(ep, i);
	return err;
}

void hk_verbs_cm_close(struct hk_verbs_endpoint *ep)
{
	if (!ep->cm)
		return;
	for (unsigned i = 0; i < HK_VERBS_RAILS; i++)
		if (ep->cm->listeners[i])
			hk_rdmacm()->destroy_id(ep->cm->listeners[i]);
	if (ep->cm->channel)
		hk_rdmacm()->destroy_event_channel(ep->cm->channel);
	free(ep->cm);
	ep->cm = NULL;
}

int hk_verbs_cm_fd(const struct hk_verbs_endpoint *ep)
{
	return ep->cm ? ep->cm->channel->fd : -1;
}

void hk_verbs_cm_address(const struct hk_verbs_endpoint *ep, unsigned rail,
			 struct hk_verbs_cm_address *a)
{
	struct sockaddr_storage sa;

	memset(a, 0, sizeof(*a));
	if (!ep->cm || address_of(&ep->rails[rail].port, &sa))
		return;
	a->v6 = sa.ss_family == AF_INET6;
	if (a->v6)
		memcpy(a->ip, &((struct sockaddr_in6 *)&sa)->sin6_addr, 16);
	else
		memcpy(a->ip, &((struct sockaddr_in *)&sa)->sin_addr, 4);
	a->port = htole16(ntohs(hk_rdmacm()->get_src_port(ep->cm->listeners[rail])));
}

/* --- calling and being called --- */

void hk_verbs_cm_drop(struct hk_verbs_path *p)
{
	if (p->cm_id)
		hk_rdmacm()->destroy_id(p->cm_id);
	p->cm_id = NULL;
}

static void lost(struct hk_verbs_path *p, const char *what)
{
	char why[80];

	snprintf(why, sizeof(why), "rdmacm: %s", what);
	hk_verbs_path_lost(p, why);
}

void hk_verbs_cm_connect(struct hk_verbs_path *p)
{
	struct hk_verbs_endpoint *ep = p->link->ep;
	struct sockaddr_storage from, to = {0};

	to.ss_family = p->cm_to.v6 ? AF_INET6 : AF_INET;
	if (p->cm_to.v6)
		memcpy(&((struct sockaddr_in6 *)&to)->sin6_addr, p->cm_to.ip, 16);
	else
		memcpy(&((struct sockaddr_in *)&to)->sin_addr, p->cm_to.ip, 4);
	set_port(&to, le16toh(p->cm_to.port));
	if (address_of(&ep->rails[p->rail].port, &from)) {
		lost(p, "no address");
		return;
	}
	if (hk_rdmacm()->create_id(ep->cm->channel, &p->cm_id, p, RDMA_PS_TCP) ||
	    hk_rdmacm()->resolve_addr(p->cm_id, (struct sockaddr *)&from, (struct sockaddr *)&to,
				      RESOLVE_MS))
		lost(p, strerror(errno));
}

static struct rdma_conn_param conn_param(const struct hk_verbs_path *p)
{
	return (struct rdma_conn_param){
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = (uint8_t)hk_param(HK_PARAM_IB_RETRY_CNT),
		.rnr_retry_count = 7,
		.qp_num = p->qp->qp_num,
	};
}

static int move_to(struct hk_verbs_path *p, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = {.qp_state = state};
	int mask = 0;

	if (hk_rdmacm()->init_qp_attr(p->cm_id, &attr, &mask))
		return errno;
	attr.min_rnr_timer = HK_VERBS_RNR_TIMER;
	if (mask & IBV_QP_TIMEOUT)
		attr.timeout = (uint8_t)hk_param(HK_PARAM_IB_TIMEOUT);
	return hk_ibv()->modify_qp(p->qp, &attr, mask);
}

static int bring_up(struct hk_verbs_path *p)
{
	int err = move_to(p, IBV_QPS_RTR);

	if (!err)
		err = move_to(p, IBV_QPS_RTS);
	if (!err) {
		p->state = HK_PATH_PROBING;
		p->since = hk_now_ns();
	}
	return err;
}

static void call_up(struct hk_verbs_path *p)
{
	const struct hk_verbs_link *l = p->link;
	struct rdma_conn_param param = conn_param(p);
	struct call c = {.magic = htole32(MAGIC),
			 .from = htole32((uint32_t)l->ep->base.rank),
			 .to = htole32((uint32_t)l->peer),
			 .path = (uint8_t)p->index,
			 .generation = htole16(p->generation),
			 .token = l->token};

	param.private_data = &c;
	param.private_data_len = sizeof(c);
	if (hk_rdmacm()->connect(p->cm_id, &param))
		lost(p, strerror(errno));
}

static struct hk_verbs_path *find_called(struct hk_verbs_endpoint *ep, const struct call *c)
{
	uint32_t from = le32toh(c->from);
	struct hk_verbs_link *l;

	if (le32toh(c->magic) != MAGIC || le32toh(c->to) != (uint32_t)ep->base.rank ||
	    from >= (uint32_t)ep->base.nranks)
		return NULL;
	l = ep->by_peer[from];
	if (!l || l->error || l->token != c->token || c->path >= l->npaths ||
	    l->paths[c->path]->state != HK_PATH_JOINING || l->paths[c->path]->cm_id ||
	    l->paths[c->path]->generation != le16toh(c->generation))
		return NULL;
	return l->paths[c->path];
}

static void take_call(struct hk_verbs_endpoint *ep, struct rdma_cm_id *id, const struct call *c)
{
	struct hk_verbs_path *p = find_called(ep, c);
	struct rdma_conn_param param;

	if (!p) { /* a stranger, or a call that came too late */
		hk_rdmacm()->reject(id, NULL, 0);
		hk_rdmacm()->destroy_id(id);
		return;
	}
	id->context = p;
	p->cm_id = id;
	param = conn_param(p);
	if (bring_up(p) || hk_rdmacm()->accept(id, &param))
		lost(p, strerror(errno));
}

static void answered(struct hk_verbs_path *p)
{
	int err = bring_up(p);

	if (!err && hk_rdmacm()->establish(p->cm_id))
		err = errno;
	if (!err)
		err = -hk_verbs_probe(p);
	if (err)
		lost(p, strerror(err));
}

static void take_event(struct hk_verbs_endpoint *ep, enum rdma_cm_event_type type,
		       struct rdma_cm_id *id, const struct call *c)
{
	struct hk_verbs_path *p = id->context;

	if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
		take_call(ep, id, c);
		return;
	}
	if (!p || p->cm_id != id || !p->qp)
		return;
	switch (type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		if (hk_rdmacm()->resolve_route(id, RESOLVE_MS))
			lost(p, strerror(errno));
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		call_up(p);
		break;
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
		answered(p);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		break;
	default:
		lost(p, hk_rdmacm()->event_str(type));
		break;
	}
}

void hk_verbs_cm_tend(struct hk_verbs_endpoint *ep)
{
	struct rdma_cm_event *e;

	while (ep->cm && !hk_rdmacm()->get_cm_event(ep->cm->channel, &e)) {
		enum rdma_cm_event_type type = e->event;
		struct rdma_cm_id *id = e->id;
		struct call c = {0};

		if (e->param.conn.private_data && e->param.conn.private_data_len >= sizeof(c) &&
		    type == RDMA_CM_EVENT_CONNECT_REQUEST)
			memcpy(&c, e->param.conn.private_data, sizeof(c));
		/* First: an id can't be destroyed before. */
		hk_rdmacm()->ack_cm_event(e);
		take_event(ep, type, id, &c);
	}
}
