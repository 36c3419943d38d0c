/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the bootstrap share, from the bytes upwards:
 *
 *   boot_format.c   layouts of every byte that another process sends; the only code that reads them
 *   boot_auth.c     the handshake's proofs, and the seals of frames
 *   boot_id.c       the unique id
 *   boot_links.c    interfaces, and the ways to a peer
 *   boot_net.c      listeners, addresses, waiting, threads
 *   boot_frame.c    sealed frames on a non-blocking socket
 *   boot_door.c     the accepting half of the handshake, for many strangers at once
 *   boot_dial.c     the dialling half, over several addresses at once
 *   boot_root.c     the root thread that introduces the ranks to each other
 *   boot_join.c     a rank's visits to the roots
 *   boot_watch.c    the failure state, and the connections that notice and spread failures
 *   boot_service.c  the service thread of a communicator
 *   boot_gather.c   all-gather and barrier
 *   boot_wire.c     publish, fetch, dial and answer
 *   boot_split.c    smaller groups out of a group, without a root
 *   bootstrap.c     opening and closing
 *
 * A connection starts with three messages. C dials, S accepts, K is derived from the id's secret:
 *
 *   C -> S  hello      what C wants, its rank, the rank it calls, tag, fresh nonce; MAC(K, hello)
 *   S -> C  challenge  fresh nonce; MAC(K, "server", hello, nonce)
 *   C -> S  proof      MAC(K, "client", hello, nonce)
 *
 * S never says a byte to who does not know K. Someone who replays a recorded hello learns nothing
 * and fails at the proof, since S's nonce is new. C knows that S is genuine before it commits
 * itself, and can try several addresses at once. What follows are frames, each sealed with a key of
 * its direction and this connection, and numbered.
 */
#ifndef HK_COMM_BOOT_INTERNAL_H
#define HK_COMM_BOOT_INTERNAL_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "bootstrap.h"
#include "transport.h"

#define HK_BOOT_ADDRS	   4	 /* addresses of a root */
#define HK_CONTACT_ADDRS   8	 /* addresses of a rank */
#define HK_BOOT_MAX_RANKS  65536 /* bounds what a joiner may claim */
#define HK_BOOT_MAX_ROUNDS 16	 /* log2 of the above */
#define HK_BOOT_MAX_ENTRY  65536 /* bytes per rank in an all-gather */
#define HK_BOOT_TEXT	   400	 /* longest sentence that travels */
#define HK_BOOT_ROOT	   UINT32_MAX
#define HK_BOOT_LOCAL	   16 /* random part of the Unix socket's name */

#define HK_BOOT_HANDSHAKE_NS 5000000000LL /* most a handshake may take */
#define HK_BOOT_MS	     1000000LL

/* --- boot_format.c: untrusted bytes. Parsers return 0 or -HK_EWIRE (-EINVAL for ids), touch
 * nothing else and never log. --- */

struct hk_boot_addr {
	uint8_t family; /* 0: unused, 4, 6 */
	uint16_t port;
	uint8_t ip[16];
	uint8_t link; /* of a rank: addresses of one interface have the same number */
};
#define HK_ADDR_SLOT 19

/* Where a rank listens. */
struct hk_contact {
	uint64_t host;
	struct hk_boot_addr addr[HK_CONTACT_ADDRS];
	uint8_t local[HK_BOOT_LOCAL];
};
#define HK_CONTACT_BYTES (8 + HK_CONTACT_ADDRS * (HK_ADDR_SLOT + 1) + HK_BOOT_LOCAL)

/* The ranks that one of several unique ids serves: first to first + count - 1. */
struct hk_part {
	uint32_t first, count;
};
/* A rank at a root: of the root's part, or one of another part that has partners in it. */
struct hk_join {
	struct hk_contact contact;
	struct hk_part part;
};
#define HK_JOIN_BYTES (HK_CONTACT_BYTES + 8)

/* Of a split: what a rank wants; and then where the new group's rank listens, or why it can't. */
struct hk_wish {
	int32_t color, key;
};
#define HK_WISH_BYTES 8
struct hk_offer {
	int32_t code; /* negative */
	struct hk_contact contact;
};
#define HK_OFFER_BYTES (4 + HK_CONTACT_BYTES)

enum hk_purpose {
	HK_FOR_JOIN = 1, /* to a root */
	HK_FOR_RING,	 /* all-gather data, one direction; tag is the round */
	HK_FOR_WATCH,	 /* goodbyes and notices, both directions */
	HK_FOR_DIAL,
	HK_FOR_FETCH,
	HK_FOR_SERVE, /* to a switch, with a job (job.h) */
};
struct hk_hello {
	uint32_t purpose, src, dst, nranks, tag, timeout_ms;
	uint8_t nonce[32];
};
#define HK_HELLO_BODY	   60
#define HK_HELLO_BYTES	   (HK_HELLO_BODY + 32)
#define HK_CHALLENGE_BYTES 64
#define HK_PROOF_BYTES	   32

enum hk_frame_type {
	HK_FRAME_OK = 1,
	HK_FRAME_ERROR,
	HK_FRAME_JOIN,
	HK_FRAME_PARTNERS,
	HK_FRAME_DATA,
	HK_FRAME_GOODBYE,
	HK_FRAME_NOTICE,
	HK_FRAME_JOB,
};
#define HK_FRAME_HEAD	  8
#define HK_FRAME_MAC	  16
#define HK_FRAME_OVER	  (HK_FRAME_HEAD + HK_FRAME_MAC)
#define HK_CONTROL_MAX	  4096 /* payload of any frame but data */
#define HK_DATA_HEAD	  24
#define HK_DATA_CHUNK	  16384 /* table bytes per data frame */
#define HK_NOTICE_BYTES	  12
#define HK_PARTNERS_BYTES (4 + HK_BOOT_MAX_ROUNDS * HK_CONTACT_BYTES)

struct hk_data {
	uint32_t op, bytes, round;
	uint64_t offset;
};
enum hk_notice_kind { HK_NOTICE_DIED = 1, HK_NOTICE_GAVE_UP, HK_NOTICE_LOST };
struct hk_notice {
	uint32_t kind, origin;
	int32_t code; /* negative; 0 for a death */
};
struct hk_refusal {
	int32_t code; /* negative */
	char text[HK_BOOT_TEXT];
};

struct hk_boot_id {
	uint8_t secret[32], token[12];
	struct hk_boot_addr addr[HK_BOOT_ADDRS];
};

void hk_boot_format_id(const struct hk_boot_id *id, uint8_t out[HK_ID_BYTES]);
int hk_boot_parse_id(const uint8_t *p, size_t n, struct hk_boot_id *id);
void hk_boot_format_hello(const struct hk_hello *h, uint8_t out[HK_HELLO_BODY]);
int hk_boot_parse_hello(const uint8_t *p, size_t n, struct hk_hello *h);
void hk_boot_format_head(uint32_t type, uint32_t len, uint8_t out[HK_FRAME_HEAD]);
/* max: the longest payload that the caller has room for. */
int hk_boot_parse_head(const uint8_t *p, size_t n, uint32_t max, uint32_t *type, uint32_t *len);
void hk_boot_format_contact(const struct hk_contact *c, uint8_t out[HK_CONTACT_BYTES]);
int hk_boot_parse_contact(const uint8_t *p, size_t n, struct hk_contact *c);
void hk_boot_format_join(const struct hk_join *j, uint8_t out[HK_JOIN_BYTES]);
/* The part lies within nranks. */
int hk_boot_parse_join(const uint8_t *p, size_t n, uint32_t nranks, struct hk_join *j);
void hk_boot_format_wish(const struct hk_wish *c, uint8_t out[HK_WISH_BYTES]);
void hk_boot_parse_wish(const uint8_t p[HK_WISH_BYTES], struct hk_wish *c);
void hk_boot_format_offer(const struct hk_offer *o, uint8_t out[HK_OFFER_BYTES]);
int hk_boot_parse_offer(const uint8_t *p, size_t n, struct hk_offer *o);
uint32_t hk_boot_format_partners(const struct hk_contact *const *list, unsigned count,
				 uint8_t out[HK_PARTNERS_BYTES]);
int hk_boot_parse_partners(const uint8_t *p, size_t n, unsigned expected,
			   struct hk_contact list[HK_BOOT_MAX_ROUNDS]);
void hk_boot_format_data(const struct hk_data *d, uint8_t out[HK_DATA_HEAD]);
int hk_boot_parse_data(const uint8_t *p, size_t n, struct hk_data *d);
void hk_boot_format_notice(const struct hk_notice *m, uint8_t out[HK_NOTICE_BYTES]);
int hk_boot_parse_notice(const uint8_t *p, size_t n, uint32_t nranks, struct hk_notice *m);
uint32_t hk_boot_format_refusal(int code, const char *text, uint8_t out[4 + HK_BOOT_TEXT]);
int hk_boot_parse_refusal(const uint8_t *p, size_t n, struct hk_refusal *r);

/* "rank 3", "ranks 3, 5 and 9", "ranks 0, ... and 90 more": those with mark[r] != 0. */
void hk_boot_print_ranks(const uint8_t *mark, unsigned nranks, char *out, size_t size);

/* --- boot_auth.c --- */

struct hk_boot_key {
	uint8_t bytes[32];
};
struct hk_seal {
	uint8_t key[32];
	uint64_t seq;
};
/* An authenticated connection; the socket does not block. */
struct hk_session {
	int fd;
	struct hk_seal tx, rx;
};

int hk_auth_init(void);
/* The key of one id: of its root, and of the group if it is the only one. */
void hk_auth_key(const struct hk_boot_id *id, struct hk_boot_key *key);
/* The key of a group with several ids, from the keys of all of them, in order. */
void hk_auth_group_key(const struct hk_boot_key *keys, uint32_t count, struct hk_boot_key *key);
/* The key of a group that split off in the all-gather number op. */
void hk_auth_split_key(const struct hk_boot_key *parent, uint32_t op, uint32_t color,
		       struct hk_boot_key *key);
/* Fills the nonce too. */
void hk_auth_hello(const struct hk_boot_key *k, struct hk_hello *h, uint8_t out[HK_HELLO_BYTES]);
bool hk_auth_check_hello(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES]);
void hk_auth_challenge(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
		       uint8_t out[HK_CHALLENGE_BYTES]);
bool hk_auth_check_challenge(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
			     const uint8_t challenge[HK_CHALLENGE_BYTES]);
void hk_auth_proof(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
		   const uint8_t nonce[32], uint8_t out[HK_PROOF_BYTES]);
bool hk_auth_check_proof(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
			 const uint8_t nonce[32], const uint8_t proof[HK_PROOF_BYTES]);
void hk_auth_session(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
		     const uint8_t nonce[32], bool accepted, struct hk_session *s);
/* frame holds HEAD + len bytes and room for the MAC. */
void hk_auth_seal(struct hk_seal *seal, uint8_t *frame, uint32_t len);
bool hk_auth_open(struct hk_seal *seal, const uint8_t *frame, uint32_t len);

/* --- boot_id.c --- */

/* -EINVAL with a sentence when the bytes are no id. */
int hk_id_read(const uint8_t bytes[HK_ID_BYTES], struct hk_boot_id *id);

/* --- boot_links.c --- */

#define HK_LINKS_MOST 32

/* Usable addresses of the interfaces that HOCKET_IFNAME allows, best first, loopback last; without
 * ports. */
int hk_links_find(struct hk_boot_addr list[HK_LINKS_MOST], unsigned *count);

/* A way to a peer, over one interface at either end. */
struct hk_route {
	char ifname[16]; /* here; "": whichever the system takes, and from is unused */
	unsigned naddrs;
	struct hk_boot_addr from[HK_CONTACT_ADDRS], to[HK_CONTACT_ADDRS];
};
#define HK_ROUTES 4
struct hk_routes {
	unsigned n;
	struct hk_route list[HK_ROUTES];
};
/* The ways to a peer that share no interface; at least one. */
void hk_links_routes(const struct hk_contact *self, const struct hk_contact *peer,
		     struct hk_routes *routes);

#define HK_WAY 100
/* The address at the other end of a connected socket, as text. */
void hk_links_peer(int fd, char out[HK_WAY]);
/* "eth1, 10.1.0.1 to 10.1.0.4": of a socket that was connected to `peer`. */
void hk_links_describe(int fd, const char *peer, char out[HK_WAY]);

/* --- boot_net.c: codes without sentences, as only the caller knows whom it talks to; the openers
 * of listeners excepted. --- */

/* Listens on the chosen interfaces; fds[i] belongs to addr[i]; of both there are `most`. */
int hk_net_listen(struct hk_boot_addr *addr, unsigned most, int *fds, unsigned *count);
/* Listens on an abstract Unix socket with a fresh random name. */
int hk_net_listen_local(uint8_t name[HK_BOOT_LOCAL], int *fd);
socklen_t hk_net_sockaddr(const struct hk_boot_addr *a, struct sockaddr_storage *sa);
socklen_t hk_net_sockaddr_local(const uint8_t name[HK_BOOT_LOCAL], struct sockaddr_storage *sa);
bool hk_net_is_loopback(const struct hk_boot_addr *a);
/* "127.0.0.1:4711, [fd00::2]:9" */
void hk_net_print(const struct hk_boot_addr *addr, unsigned count, char *out, size_t size);
uint64_t hk_net_host(const struct hk_boot_key *key);
/* Where a listener listens; as getsockname. */
int hk_net_local_port(int fd, uint16_t *port);
/* 0, -ETIMEDOUT, or -HK_EPEER when failfd (-1: none) is readable. */
int hk_net_wait(int fd, short events, int64_t deadline, int failfd);
/* Milliseconds for poll until the deadline, rounded up. */
int hk_net_poll_ms(int64_t deadline);
void hk_net_nodelay(int fd);
int hk_net_blocking(int fd);
void hk_net_close(int *fd);

struct hk_pollset {
	struct pollfd *fds;
	unsigned n, cap;
};
/* Empties the set and makes room for `most` descriptors. */
int hk_poll_begin(struct hk_pollset *ps, unsigned most);
/* The place of fd in the set. */
unsigned hk_poll_add(struct hk_pollset *ps, int fd, short events);
/* Waits; 0 also after a signal, when all revents are 0. */
void hk_poll_wait(struct hk_pollset *ps, int64_t deadline);
short hk_poll_got(const struct hk_pollset *ps, unsigned slot);

/* --- job.c --- */

/* "host:port", "[::1]:port": up to HK_BOOT_ADDRS addresses. -EINVAL with a sentence. */
int hk_switch_resolve(const char *text, struct hk_boot_addr addr[HK_BOOT_ADDRS]);

/* --- boot_frame.c: codes without sentences --- */

struct hk_frame {
	uint32_t type, len;
	const uint8_t *payload;
};
struct hk_reader {
	uint8_t *buf;
	uint32_t cap, got;
	bool want_fd; /* take a descriptor that comes along */
	int fd;	      /* -1: none came */
};
struct hk_writer {
	uint8_t *buf;
	uint32_t cap, len, pos;
};
/* 1: a frame, valid until the next read; 0: not yet; -ECONNRESET at the end of the stream,
 * -HK_EWIRE, -HK_EAUTH. Never reads past the frame. */
int hk_frame_read(struct hk_session *s, struct hk_reader *r, struct hk_frame *f);
/* Adds a sealed frame of two parts; -ENOBUFS when there is no room. */
int hk_frame_queue(struct hk_session *s, struct hk_writer *w, uint32_t type, const void *a,
		   uint32_t na, const void *b, uint32_t nb);
/* 1: all is sent; 0: not yet. */
int hk_frame_flush(struct hk_session *s, struct hk_writer *w);
/* The blocking forms. */
int hk_frame_recv(struct hk_session *s, struct hk_reader *r, int64_t deadline, int failfd,
		  struct hk_frame *f);
int hk_frame_send(struct hk_session *s, uint32_t type, const void *payload, uint32_t len,
		  int64_t deadline, int failfd);
void hk_session_close(struct hk_session *s);

/* --- boot_door.c --- */

struct hk_guest {
	struct hk_session session;
	struct hk_hello hello;
};
struct hk_pending;
struct hk_door {
	const struct hk_boot_key *key;
	uint32_t self;	   /* whom hellos must call */
	uint32_t purposes; /* bit mask of what is served here */
	int listeners[HK_CONTACT_ADDRS + 1];
	unsigned nlisteners, local; /* listeners[local] is the Unix socket, if any */
	unsigned listener_slot[HK_CONTACT_ADDRS + 1];
	struct hk_pending *pending;
	unsigned npending, cap, most;
	int64_t muted_until; /* out of descriptors: no accepting before */
};
/* Takes over the listeners. most: strangers under examination at a time. */
void hk_door_init(struct hk_door *d, const struct hk_boot_key *key, uint32_t self,
		  uint32_t purposes, unsigned most);
void hk_door_listen(struct hk_door *d, int fd, bool local);
unsigned hk_door_fds(const struct hk_door *d);
void hk_door_watch(struct hk_door *d, struct hk_pollset *ps);
/* When it wants to be worked at the latest. */
int64_t hk_door_deadline(const struct hk_door *d);
void hk_door_work(struct hk_door *d, const struct hk_pollset *ps);
/* 1: a guest who has proved to know the secret. */
int hk_door_next(struct hk_door *d, struct hk_guest *g);
void hk_door_close(struct hk_door *d);
size_t hk_door_memory(const struct hk_door *d);

/* --- boot_dial.c --- */

struct hk_call {
	const struct hk_boot_key *key;
	struct hk_boot_addr addr[HK_CONTACT_ADDRS]; /* best first */
	const uint8_t *local;			    /* not NULL: this Unix socket instead */
	const struct hk_route *via;		    /* not NULL: addr is its `to`, in order */
	int stopfd;	       /* readable: stop, with -HK_EABORT; 0: there is none */
	bool quiet;	       /* failures are not for the log */
	struct hk_hello hello; /* all but nonce and timeout_ms */
	int64_t deadline;
	int failfd;
	int64_t refused_ns;	   /* give up when all have refused for so long; 0: do not */
	const char *whom, *remedy; /* for the sentence */
};
/* Returns codes with sentences, but -HK_EPEER from failfd without. */
int hk_dial(const struct hk_call *call, struct hk_session *s);
/* Waits for a frame of that type. What whom refuses becomes this thread's error. */
int hk_dial_reply(const struct hk_call *call, struct hk_session *s, struct hk_reader *r,
		  uint32_t type, struct hk_frame *f);

/* --- boot_root.c --- */

/* Starts the root thread, which takes over the listeners, also when that fails. */
int hk_root_start(const struct hk_boot_id *id, const int *fds, unsigned count);

/* --- boot_watch.c --- */

struct hk_failure {
	atomic_int code;
	int fd; /* an eventfd, readable once failed */
	pthread_mutex_t lock;
	uint32_t rank;
	char way[HK_WAY];	 /* of a connection that was lost last */
	struct hk_notice notice; /* these two are written before code, and never again */
	char text[HK_BOOT_TEXT];
};
int hk_failure_init(struct hk_failure *f, uint32_t rank);
void hk_failure_destroy(struct hk_failure *f);
/* The first failure counts; true if this was it. */
bool hk_failure_set(struct hk_failure *f, const struct hk_notice *m);
/* Makes the failure this thread's error and returns its code. */
int hk_failure_report(struct hk_failure *f);

struct hk_watch;
struct hk_watches {
	struct hk_failure *failure;
	uint32_t nranks;
	/* Has a connection that was lost dialled again, for a while; then adopted or missed. */
	void (*redial)(struct hk_watches *ws, uint32_t peer);
	struct hk_watch **list;
	unsigned n, cap;
	bool flooded;
};
/* Takes over the session, also when it fails. ours: we dialled it. */
int hk_watches_add(struct hk_watches *ws, uint32_t peer, bool ours, const struct hk_session *s);
/* When it wants to be worked at the latest. */
int64_t hk_watches_deadline(const struct hk_watches *ws);
void hk_watches_watch(struct hk_watches *ws, struct hk_pollset *ps);
/* Reads, notes failures and tells them to all. */
void hk_watches_work(struct hk_watches *ws, const struct hk_pollset *ps);
/* Says goodbye to all, for at most so long, and closes. */
void hk_watches_close(struct hk_watches *ws, int64_t most_ns);
size_t hk_watches_memory(const struct hk_watches *ws);

/* --- boot_service.c --- */

struct hk_inbox_item {
	uint32_t purpose, peer, tag;
	struct hk_session session;
};
struct hk_published {
	uint32_t tag;
	int fd;
};
struct hk_parked;
struct hk_service {
	const struct hk_boot_key *key;
	uint32_t rank, nranks;
	struct hk_failure failure;
	pthread_t thread;
	int wakefd;
	int stopfd; /* an eventfd, readable from the stop on */

	pthread_mutex_t lock; /* for what follows, up to the blank line */
	pthread_cond_t arrived;
	bool stopping;
	unsigned redialling; /* threads; arrived is signalled when one ends */
	struct hk_inbox_item *inbox;
	atomic_uint ninbox; /* read without the lock by those who only want to know if any */
	unsigned inbox_cap;
	struct hk_published *published;
	unsigned npublished, published_cap;
	struct hk_inbox_item *adopted; /* watch connections dialled by the application thread */
	unsigned nadopted, adopted_cap;

	atomic_size_t own_bytes; /* heap of what follows, which is the service thread's own */
	struct hk_door door;
	bool announced; /* the failure, to those who wait for an arrival */
	struct hk_watches watches;
	struct hk_parked *parked;
	unsigned nparked, parked_cap;
	struct hk_pollset polls;
};
/* Starts listening; contact gets the addresses. */
int hk_service_start(struct hk_service *sv, const struct hk_boot_key *key, uint32_t rank,
		     uint32_t nranks, struct hk_contact *contact);
void hk_service_stop(struct hk_service *sv);
/* Waits for a connection. 0, -ETIMEDOUT or -HK_EPEER, without sentences. */
int hk_service_take(struct hk_service *sv, uint32_t purpose, uint32_t peer, uint32_t tag,
		    int64_t deadline, struct hk_session *s);
/* Whether it has come: then takes it. */
bool hk_service_try(struct hk_service *sv, uint32_t purpose, uint32_t peer, uint32_t tag,
		    struct hk_session *s);
int hk_service_publish(struct hk_service *sv, uint32_t tag, int fd);
void hk_service_withdraw(struct hk_service *sv, uint32_t tag);
/* Hands a dialled watch connection to the thread. */
int hk_service_adopt(struct hk_service *sv, uint32_t peer, const struct hk_session *s);
void hk_service_wake(struct hk_service *sv);
size_t hk_service_memory(struct hk_service *sv);

/* --- bootstrap.c, boot_join.c, boot_split.c, boot_gather.c, boot_wire.c --- */

/* A root that a rank has to visit. */
struct hk_visit {
	struct hk_boot_key key;
	struct hk_boot_addr addr[HK_BOOT_ADDRS];
	struct hk_part part;
};

struct hk_boot {
	struct hk_wire wire;
	uint32_t rank, nranks, rounds;
	int64_t timeout_ns;
	int64_t deadline; /* of joining */
	struct hk_boot_key key;
	uint64_t host;
	struct hk_contact self;
	struct hk_contact *contacts; /* of the partners above, then of all ranks */
	struct hk_visit *visits;     /* until joined; NULL if the contacts are known */
	unsigned nvisits;
	struct hk_routes **routes; /* to ranks that have been asked about */
	struct hk_session out[HK_BOOT_MAX_ROUNDS], in[HK_BOOT_MAX_ROUNDS];
	struct hk_writer tx;
	struct hk_reader rx;
	uint32_t op;	/* all-gathers begun */
	int ring_error; /* sticky: a round was left half done */
	struct hk_service service;
};
/* A boot without visits and without a key. */
int hk_boot_alloc(uint32_t nranks, uint32_t rank, int64_t timeout_ms, struct hk_boot **out);
/* Frees one whose service does not run; NULL is fine. */
void hk_boot_free(struct hk_boot *b);
/* Starts the service; then self is known. */
int hk_boot_start(struct hk_boot *b);
/* The lowest count of rounds with 2^rounds >= nranks. */
uint32_t hk_boot_rounds(uint32_t nranks);
/* Part `index` of nranks ranks in nparts parts: the longer ones, by one rank, come first. */
struct hk_part hk_boot_part(uint32_t nranks, uint32_t nparts, uint32_t index);
/* Finds out which roots to visit, and the group's key. */
int hk_boot_prepare_visits(struct hk_boot *b, const uint8_t *ids, uint32_t nids);
/* Visits them: then the contacts of the partners above are known. */
int hk_boot_visit(struct hk_boot *b);
int hk_boot_gather(struct hk_boot *b, void *table, size_t bytes, int64_t timeout_ns);
/* The rank at distance 2^round, upwards and downwards. */
uint32_t hk_boot_above(const struct hk_boot *b, unsigned round);
uint32_t hk_boot_below(const struct hk_boot *b, unsigned round);
/* Connects to a peer and waits for its OK; fd, if not NULL, gets the descriptor that comes along.
 */
int hk_boot_call(struct hk_boot *b, uint32_t peer, const struct hk_contact *contact,
		 uint32_t purpose, uint32_t tag, int64_t deadline, int *fd, struct hk_session *s);
extern const struct hk_wire_ops hk_boot_wire_ops;
/* Dials a watch connection again, by any address that works; no sentences. */
int hk_boot_rewatch(struct hk_service *sv, uint32_t peer, int64_t deadline, struct hk_session *s);

#endif
