/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the verbs transport: what its files share.
 *
 *     rail    a port of this host's devices; with a protection domain and a completion queue
 *     link    all that two ranks have in common: their paths, their control messages
 *     path    one reliable queue pair of a link, from one rail to one of the peer's
 *     half    the sending or receiving end of a connection (transport.h): a ring of slots at the
 *             receiver, whose messages take any path of the link
 *
 * verbs.c has the endpoint, verbs_meet.c how two ranks find each other, verbs_path.c the queue
 * pairs, verbs_control.c what links tell each other, verbs_fail.c how a path is given up and comes
 * back, verbs_tend.c what is due, verbs_send.c and verbs_recv.c the messages, verbs_done.c the
 * completions, verbs_memory.c registered memory.
 */
#ifndef HK_TRANSPORT_VERBS_H
#define HK_TRANSPORT_VERBS_H

#include "ibv.h"
#include "regcache.h"
#include "transport.h"
#include "verbs_device.h"

#define HK_VERBS_RAILS	    4u	   /* of a rank */
#define HK_VERBS_PATHS	    8u	   /* of a link */
#define HK_VERBS_CHANNELS   64u	   /* as many as an immediate has room for */
#define HK_VERBS_SLOTS	    16u	   /* of a connection, at most */
#define HK_VERBS_SENDS	    256u   /* work requests of a path that may be under way */
#define HK_VERBS_RECVS	    192u   /* messages that a path takes before its owner looks */
#define HK_VERBS_CONTROL    256u   /* bytes of a control message, at most */
#define HK_VERBS_PROBE	    4096u  /* bytes of what tries a path out, at most: the largest packet */
#define HK_VERBS_KEPT	    128u   /* control messages that may be under way on a link */
#define HK_VERBS_MOST_PATHS 32768u /* of an endpoint: what an id has room for */
#define HK_VERBS_ID_RECV    (UINT64_C(1) << 63)
#define HK_VERBS_LEND	    4096u  /* bytes of the shortest message that is lent */
#define HK_VERBS_SHORT	    16384u /* bytes of a message for which there always is room */
#define HK_VERBS_MEETINGS   64u	   /* that one wait looks at */
#define HK_VERBS_RNR_TIMER  1	   /* 10 us: a peer without buffers has only to look */
#define HK_VERBS_LEAD	    64u	   /* bytes of a slot before the payload; the header ends them */

/* A message's header, which ends at its payload. Numbers on the wire are little-endian. */
struct hk_verbs_header {
	uint32_t number, bytes, mark, zero;
};

/* Memory that all rails can reach, of the transport's own. */
struct hk_verbs_memory {
	uint8_t *base;
	size_t bytes;
	struct ibv_mr *mr[HK_VERBS_RAILS];
};

/* A registration of the cache's. */
struct hk_verbs_reg {
	struct hk_reg reg;
	struct ibv_mr *mr[HK_VERBS_RAILS];
};

struct hk_verbs_rail {
	struct hk_ib_port port;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_comp_channel *events;
	unsigned depth;	  /* of the completion queue ... */
	unsigned claimed; /* ... by paths */
	uint32_t inline_bytes;
	bool immediates;    /* the device has them */
	bool down;	    /* the port's own word ... */
	int64_t down_since; /* ... and since when */
};

struct hk_verbs_endpoint;
struct hk_verbs_link;
struct hk_verbs_send;
struct hk_verbs_recv;

enum hk_verbs_state {
	HK_PATH_NONE,	    /* it has no queue pair; the peer's may have one */
	HK_PATH_JOINING,    /* a queue pair that waits for its peer */
	HK_PATH_CONNECTING, /* a thread connects it */
	HK_PATH_PROBING,    /* connected, and tried out */
	HK_PATH_UP,
	HK_PATH_DRAINING, /* given up; takes nothing any more, and hands in what has come */
	HK_PATH_FENCED,	  /* its queue pair is gone; the peer's not yet */
};

/* What a queue pair is to its peer. */
struct hk_verbs_address {
	uint8_t gid[16];
	uint32_t qpn, psn;
	uint16_t lid;
	uint8_t mtu;
	uint8_t zero;
};

/* Where the RDMA connection manager listens (verbs_cm.c). */
struct hk_verbs_cm_address {
	uint8_t ip[16];
	uint16_t port; /* 0: nowhere */
	uint8_t v6, zero;
};

/* A work request under way. */
struct hk_verbs_posted {
	uint64_t bytes; /* posted on the path up to here */
	bool probe;
};

struct hk_verbs_path {
	struct hk_verbs_link *link;
	unsigned index;	     /* in the link, the same on both ends */
	unsigned place;	     /* in the endpoint's table */
	unsigned rail;	     /* here; the peer's is known to the peer */
	uint16_t generation; /* of the queue pair: counts its renewals, the same on both ends */
	enum hk_verbs_state state;
	bool spare;	  /* takes messages only while no other path works */
	bool peer_fenced; /* the peer has given it up, and has said what had come */
	bool tell_fenced, tell_join, tell_answer; /* when there is room for it */
	bool doomed;				  /* lost, when it has been connected */
	struct hk_verbs_connecting *connecting;
	struct ibv_qp *qp;
	uint32_t psn;
	uint32_t packet;	    /* bytes of the largest */
	uint32_t posted, completed; /* work requests so far */
	uint32_t quiet;		    /* of them unsignalled, since the last that was not */
	uint64_t posted_bytes, completed_bytes;
	struct hk_verbs_posted ring[HK_VERBS_SENDS];
	uint32_t receives; /* posted and not completed */
	struct hk_verbs_memory buffers;
	int64_t since;	  /* when it came into its state */
	int64_t retry_at; /* without a queue pair: when to try again */
	int64_t pause;
	char why[96]; /* it was given up */
	char peer_port[48];
	struct rdma_cm_id *cm_id; /* NULL: the connection manager has nothing to do with it */
	struct hk_verbs_cm_address cm_to;
};

/* A control message that may have to be sent again. */
struct hk_verbs_kept {
	uint32_t bytes, path,
		wr; /* wr: its work request on that path; path: HK_VERBS_PATHS: none */
	uint16_t generation;
};

/* The receiver's word of what has come on one channel, when it gave a path up. */
struct hk_verbs_arrived {
	uint32_t number, mask; /* all before number, and number + i for each bit i */
};

/* A receiver's slots, once it has told of them. */
struct hk_verbs_ring {
	uint64_t at; /* 0: unknown */
	uint32_t bytes, stride;
	uint32_t keys[HK_VERBS_PATHS];
};

struct hk_verbs_place;
struct hk_verbs_link {
	struct hk_verbs_endpoint *ep;
	struct hk_verbs_link *next;
	int peer;
	int error;			  /* sticky, for all halves */
	bool up;			  /* some path works or has worked */
	bool gone;			  /* the peer said goodbye */
	struct hk_verbs_meeting *meeting; /* while it comes about, or NULL */
	int64_t lost_at;		  /* no path works since; 0: one does */
	uint64_t token;			  /* that both know */
	char host[64];			  /* the peer's */
	unsigned npaths, nstriped;	  /* the second: without spares */
	struct hk_verbs_path *paths[HK_VERBS_PATHS];
	struct hk_verbs_send *sends[HK_VERBS_CHANNELS];
	struct hk_verbs_recv *recvs[HK_VERBS_CHANNELS];
	struct hk_verbs_arrived arrived[HK_VERBS_CHANNELS];
	struct hk_verbs_ring
		rings[HK_VERBS_CHANNELS]; /* that were told of before there was a half */
	struct hk_verbs_place
		*places[HK_VERBS_CHANNELS]; /* the same, each HK_VERBS_SLOTS, or NULL */

	/* control messages: numbered, kept until they have been delivered */
	struct hk_verbs_memory control;
	struct hk_verbs_kept kept[HK_VERBS_KEPT];
	uint32_t control_next, control_posted, control_done; /* ours */
	unsigned control_path;				     /* that they take, while it is up */
	uint32_t control_seen;				     /* the peer's */
	struct hk_verbs_early *early; /* those that overtook others, or NULL */
};

/* Whether the devices find a GPU's memory by its address. */
enum hk_verbs_peermem { HK_PEERMEM_UNTRIED, HK_PEERMEM_WORKS, HK_PEERMEM_FAILS };

struct hk_verbs_endpoint {
	struct hk_endpoint base;
	struct hk_wire *wire;
	uint32_t slots, slot_bytes, usual_bytes, channels;
	unsigned nrails;
	struct hk_verbs_rail rails[HK_VERBS_RAILS];
	struct hk_ib_port ports[HK_VERBS_RAILS];
	struct hk_regcache *cache;
	bool dmabufs; /* all rails take them */
	enum hk_verbs_peermem peermem;
	struct hk_reg *admitted; /* a GPU's memory, until close; or NULL */
	struct hk_verbs_cm *cm;	 /* NULL: queue pairs are connected over the bootstrap */
	struct hk_verbs_link *links;
	struct hk_verbs_link **by_peer;
	struct hk_verbs_path **paths; /* by place */
	unsigned npaths, room;
	int64_t tend_at; /* when something else than completions is to be seen to, at the latest */
	uint32_t looks;
	bool told_mtu; /* that a peer's differs */
	size_t memory;
};

/* Where a message may be put that is to come. */
struct hk_verbs_place {
	uint64_t at;
	uint32_t number, bytes, mark;
	uint32_t keys[HK_VERBS_PATHS];
};

/* The last work request of a half on a path. */
struct hk_verbs_last {
	uint32_t wr;
	uint16_t generation;
	bool used;
};

enum hk_verbs_stage { HK_STAGE_HELD, HK_STAGE_POSTED, HK_STAGE_DELIVERED };

struct hk_verbs_send {
	struct hk_send base;
	struct hk_verbs_link *link;
	int error;
	uint32_t number;   /* of the next message */
	uint32_t released; /* the receiver has done with all before */
	uint32_t first;	   /* the first that may not have been posted */
	uint32_t settled;  /* all before have been delivered */
	bool reserved;
	struct hk_verbs_memory staging; /* a ring of slots; of short ones, until one is too short */
	uint32_t staging_bytes;
	struct hk_verbs_last last[HK_VERBS_PATHS];
	struct hk_verbs_ring ring; /* the receiver's */
	bool grow, grow_told;	   /* a message is too long for the ring ... */
	bool grow_unfit;	   /* ... and the place that it was offered is for another */
	struct hk_verbs_reg *reg;  /* of what lends said yes to */
	struct hk_verbs_outgoing {
		enum hk_verbs_stage stage;
		uint8_t path;
		uint16_t generation;
		uint32_t wr, bytes, mark;
		const void *lent; /* or NULL: it is in its slot */
		struct hk_verbs_reg *reg;
	} out[HK_VERBS_SLOTS];
	struct hk_verbs_place places[HK_VERBS_SLOTS];
};

struct hk_verbs_recv {
	struct hk_recv base;
	struct hk_verbs_link *link;
	int error;
	uint32_t number; /* of the next message */
	uint32_t told;	 /* the sender knows that all before are released */
	bool held;
	bool grow;	      /* the sender has a message that is too long for the ring: ... */
	uint32_t grow_number; /* ... this one ... */
	uint32_t grow_bytes;  /* ... so long ... */
	uint32_t grow_looks;  /* ... and it was looked for so often without an offer, ... */
	bool grow_unfit;      /* ... or with one that is not for it */
	bool announced;
	struct hk_verbs_memory ring;
	uint32_t ring_bytes, stride;
	struct hk_verbs_incoming {
		bool here, direct;
	} in[HK_VERBS_SLOTS];
	struct hk_verbs_offered {
		uint8_t *at; /* NULL: none */
		uint32_t number, bytes, mark;
		bool told;
		struct hk_verbs_reg *reg;
	} offered[HK_VERBS_SLOTS];
	unsigned untold; /* offers that the sender has not been told of */
};

extern const struct hk_transport hk_transport_verbs;

static inline struct hk_verbs_endpoint *hk_verbs_endpoint(struct hk_endpoint *ep)
{
	return (struct hk_verbs_endpoint *)ep;
}

/* The slots of a ring that is to take a message of so many bytes: of a few lengths only, so that
 * rings are seldom replaced. */
static inline uint32_t hk_verbs_ring_bytes(const struct hk_verbs_endpoint *ep, uint32_t bytes)
{
	if (bytes <= HK_VERBS_SHORT && HK_VERBS_SHORT < ep->slot_bytes)
		return HK_VERBS_SHORT;
	return bytes <= ep->usual_bytes && ep->usual_bytes < ep->slot_bytes ? ep->usual_bytes
									    : ep->slot_bytes;
}

/* --- verbs_memory.c --- */

int hk_verbs_memory_get(struct hk_verbs_endpoint *ep, size_t bytes, struct hk_verbs_memory *m);
void hk_verbs_memory_put(struct hk_verbs_endpoint *ep, struct hk_verbs_memory *m);
int hk_verbs_cache_open(struct hk_verbs_endpoint *ep);
void hk_verbs_cache_close(struct hk_verbs_endpoint *ep);
/* See admit_device in transport.h. */
int hk_verbs_admit(struct hk_endpoint *base, uint64_t at, size_t bytes, uint32_t *least);
/* Whether the pd's device, its driver and kernel can register dmabufs. */
bool hk_verbs_takes_dmabufs(const struct hk_ibv *ibv, struct ibv_pd *pd);

/* --- verbs_path.c --- */

/* Makes the queue pair, which waits for its peer. */
int hk_verbs_path_open(struct hk_verbs_path *p);
/* Makes the port's packets no larger than HOCKET_IB_MTU. */
void hk_verbs_limit_mtu(struct hk_ib_port *port);
void hk_verbs_path_address(const struct hk_verbs_path *p, struct hk_verbs_address *a);
/* Connects it. */
int hk_verbs_path_connect(struct hk_verbs_path *p, const struct hk_verbs_address *a);
/* As connect, but in a thread where that waits: other paths are in use. */
int hk_verbs_path_connect_begin(struct hk_verbs_path *p, const struct hk_verbs_address *a);
/* What came of it, or -EAGAIN. The path then is PROBING, also if it failed. */
int hk_verbs_path_connect_end(struct hk_verbs_path *p);
/* Stops it; whatever it has still to say comes as completions. */
void hk_verbs_path_stop(struct hk_verbs_path *p);
/* After this nothing comes through its queue pair any more. */
void hk_verbs_path_close(struct hk_verbs_path *p);
int hk_verbs_path_new(struct hk_verbs_link *l, unsigned index, unsigned rail);
void hk_verbs_path_free(struct hk_verbs_path *p);
/* Whether it takes another work request. */
static inline bool hk_verbs_path_has_room(const struct hk_verbs_path *p)
{
	return p->posted - p->completed < HK_VERBS_SENDS - 2;
}
/* Posts. signal: its completion is waited for. 0 or a negative code. */
int hk_verbs_path_post(struct hk_verbs_path *p, struct ibv_send_wr *wr, bool signal, bool probe,
		       uint32_t bytes);
/* Has it say that it has carried out what was posted without a completion, by writing nothing. */
void hk_verbs_path_ask(struct hk_verbs_path *p);
/* Posts a write, of nothing if it has no memory, with an immediate, or for devices that have none
 * with a message that holds it. */
int hk_verbs_path_announce(struct hk_verbs_path *p, struct ibv_send_wr *wr, uint32_t imm,
			   bool signal, uint32_t bytes);
int hk_verbs_path_receive(struct hk_verbs_path *p, uint32_t buffer);
/* Whether this work request of that generation has been carried out. */
static inline bool hk_verbs_path_did(const struct hk_verbs_path *p, uint16_t generation,
				     uint32_t wr)
{
	return p->generation == generation && (int32_t)(p->completed - wr) > 0;
}

/* --- verbs_meet.c --- */

/* The link with a peer; begun if there is none. */
int hk_verbs_link_get(struct hk_verbs_endpoint *ep, int peer, struct hk_verbs_link **link);
/* Goes on with meeting the peer. */
void hk_verbs_meet(struct hk_verbs_link *l);
void hk_verbs_meeting_free(struct hk_verbs_link *l);
void hk_verbs_link_free(struct hk_verbs_link *l);
int hk_verbs_meeting_socket(const struct hk_verbs_link *l);

/* --- verbs_cm.c --- */

struct rdma_cm_id;
bool hk_verbs_cm_wanted(void);
/* Nothing, if it is not wanted. */
int hk_verbs_cm_open(struct hk_verbs_endpoint *ep);
void hk_verbs_cm_close(struct hk_verbs_endpoint *ep);
int hk_verbs_cm_fd(const struct hk_verbs_endpoint *ep);
void hk_verbs_cm_address(const struct hk_verbs_endpoint *ep, unsigned rail,
			 struct hk_verbs_cm_address *a);
/* Calls the peer for a path whose queue pairs have been made. */
void hk_verbs_cm_connect(struct hk_verbs_path *p);
void hk_verbs_cm_drop(struct hk_verbs_path *p);
void hk_verbs_cm_tend(struct hk_verbs_endpoint *ep);

/* --- verbs_control.c --- */

/* Tells the peer where messages are wanted that are to come. */
void hk_verbs_tell_places(struct hk_verbs_recv *r);
void hk_verbs_tell_bye(struct hk_verbs_link *l);
/* Tries a path out: its delivery makes the path work, here and at the peer. */
int hk_verbs_probe(struct hk_verbs_path *p);
/* Tells and sends what there is to be told and sent. */
void hk_verbs_control_push(struct hk_verbs_link *l);
/* Control messages that went over this path may have to go over another one. */
void hk_verbs_control_retake(struct hk_verbs_path *p);
/* Whether all have been delivered. */
bool hk_verbs_control_idle(struct hk_verbs_link *l);
/* One has come over a path. */
void hk_verbs_control_take(struct hk_verbs_path *p, const void *bytes, uint32_t length);

/* --- verbs_fail.c --- */

/* Everything over this link fails from now on; returns its error. */
int hk_verbs_link_fail(struct hk_verbs_link *l, int err);
/* Gives a path up. */
void hk_verbs_path_lost(struct hk_verbs_path *p, const char *why);
/* The peer has given it up. */
void hk_verbs_path_fenced(struct hk_verbs_path *p, uint16_t generation);
/* It works. */
void hk_verbs_path_up(struct hk_verbs_path *p);
/* The peer has made a queue pair for it; answer: because we have. */
void hk_verbs_path_join(struct hk_verbs_path *p, uint16_t generation,
			const struct hk_verbs_address *a, bool answer);

/* The peer said goodbye: it has had all that it needed, and answers no more. */
void hk_verbs_link_gone(struct hk_verbs_link *l);
/* It may have been connected. */
void hk_verbs_path_connected(struct hk_verbs_path *p);
/* A stopped one has said all that it had to. */
void hk_verbs_path_drained(struct hk_verbs_path *p);
/* Begins to make it anew. */
void hk_verbs_path_renew(struct hk_verbs_path *p);

/* --- verbs_tend.c --- */

/* Sees to what is due: meetings, drains, renewals, what the devices report. */
void hk_verbs_tend(struct hk_verbs_endpoint *ep, int64_t now);
/* At the latest then. */
void hk_verbs_tend_by(struct hk_verbs_endpoint *ep, int64_t at);

/* --- verbs_done.c --- */

/* Takes completions; returns how many. */
int hk_verbs_progress(struct hk_verbs_endpoint *ep);
/* Takes all of a rail's that there are. */
void hk_verbs_take_all(struct hk_verbs_endpoint *ep, unsigned rail);

/* --- verbs_send.c, verbs_recv.c --- */

int hk_verbs_send_new(struct hk_verbs_link *l, uint32_t channel, struct hk_verbs_send **send);
int hk_verbs_recv_new(struct hk_verbs_link *l, uint32_t channel, struct hk_verbs_recv **recv);
void hk_verbs_send_free(struct hk_verbs_send *s);
void hk_verbs_recv_free(struct hk_verbs_recv *r);
/* Lets go of the user's memory. */
void hk_verbs_send_sever(struct hk_verbs_send *s);
void hk_verbs_recv_sever(struct hk_verbs_recv *r);
/* Posts what waits for a path, a ring or a place. */
void hk_verbs_send_push(struct hk_verbs_send *s);
void hk_verbs_recv_push(struct hk_verbs_recv *r);
/* The sender waits with this message, which is too long; none after it is under way. */
void hk_verbs_recv_grow(struct hk_verbs_recv *r, uint32_t number, uint32_t bytes, bool unfit);
/* The receiver has released all messages before one whose number ends so. */
void hk_verbs_credit(struct hk_verbs_send *s, uint8_t released);
/* A message has come. */
void hk_verbs_arrive(struct hk_verbs_path *p, uint32_t imm);
/* Of a fenced path: what had not come goes over the others. */
void hk_verbs_send_retake(struct hk_verbs_send *s, const struct hk_verbs_path *p);
void hk_verbs_recv_retake(struct hk_verbs_recv *r);
int hk_verbs_peer_gone(const struct hk_verbs_link *l, int *error);

/*
 * Immediates: what kind, which channel, the last bits of the message's number and of the number up
 * to which the other direction of the channel has been released.
 */
enum { HK_IMM_DIRECT = 1, HK_IMM_CREDIT = 2 };
enum { HK_IMM_MESSAGE, HK_IMM_RELEASED };
static inline uint32_t hk_verbs_imm(unsigned kind, uint32_t channel, uint32_t number,
				    uint32_t released, unsigned flags)
{
	return kind << 30 | channel << 24 | (number & 0xff) << 16 | (released & 0xff) << 8 | flags;
}

#endif
