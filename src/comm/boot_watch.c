/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a failure becomes known. Each rank holds a connection to the ranks at distance 1, 2, 4 ...
 * above and below it. The kernel closes them when a process ends, however it ends, so an end of
 * stream without a goodbye before it means a death. Whoever learns of a death, or of a rank that
 * gives up, tells all its neighbours once; so everyone knows after at most log2 n hops. Keep-alive
 * probes find hosts that vanish without a word, within HOCKET_TCP_TIMEOUT_MS. That may be the end
 * of one network only, so who dialled the connection then dials again, by all of the peer's
 * addresses; only if that does not succeed within the same time again is the peer taken for lost.
 *
 * The first failure stays: an atomic code that executors poll, a sentence that never changes after
 * the code is set, and an eventfd for those who sleep.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "param.h"

enum { FRAME = HK_NOTICE_BYTES + HK_FRAME_OVER };

struct hk_watch {
	struct hk_session session;
	uint32_t peer;
	unsigned slot;
	bool goodbye; /* the peer said it */
	bool ours;
	int64_t lost_at; /* 0: it is not; else the session is closed, and waits for another */
	char peer_addr[HK_WAY];
	char way[HK_WAY]; /* of a lost one */
	struct hk_reader reader;
	struct hk_writer writer;
	uint8_t in[FRAME], out[2 * FRAME]; /* a notice and a goodbye are all that is ever sent */
};

int hk_failure_init(struct hk_failure *f, uint32_t rank)
{
	atomic_init(&f->code, 0);
	f->rank = rank;
	f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->fd < 0)
		return hk_fail(errno, "no eventfd: %s; raise the limit of open files (ulimit -n)",
			       strerror(errno));
	pthread_mutex_init(&f->lock, NULL);
	return 0;
}

void hk_failure_destroy(struct hk_failure *f)
{
	if (f->fd < 0)
		return;
	hk_net_close(&f->fd);
	pthread_mutex_destroy(&f->lock);
}

static int describe(struct hk_failure *f, const struct hk_notice *m)
{
	char *text = f->text;

	if (m->kind == HK_NOTICE_GAVE_UP && m->origin == f->rank) {
		snprintf(text, HK_BOOT_TEXT, "this rank, %u, gave up (%s)", f->rank,
			 hk_code_name(m->code));
		return -HK_EABORT;
	}
	if (m->kind == HK_NOTICE_GAVE_UP)
		snprintf(text, HK_BOOT_TEXT, "rank %u gave up (%s): its own log says why",
			 m->origin, hk_code_name(m->code));
	else if (m->origin == f->rank)
		snprintf(text, HK_BOOT_TEXT,
			 "the other ranks lost this one, %u, and take it for dead: was the "
			 "network down?",
			 m->origin);
	else if (m->kind == HK_NOTICE_LOST)
		snprintf(text, HK_BOOT_TEXT,
			 "rank %u no longer answers on its control connection (%s), nor by any "
			 "other of its addresses: its host or the network failed",
			 m->origin, f->way[0] ? f->way : "another rank's");
	else
		snprintf(text, HK_BOOT_TEXT,
			 "rank %u died: its connections closed without a goodbye; was it killed, "
			 "or did it crash or exit early?",
			 m->origin);
	return -HK_EPEER;
}

bool hk_failure_set(struct hk_failure *f, const struct hk_notice *m)
{
	bool first;
	int code;

	pthread_mutex_lock(&f->lock);
	first = !atomic_load_explicit(&f->code, memory_order_relaxed);
	if (first) {
		f->notice = *m;
		code = describe(f, m);
		atomic_store_explicit(&f->code, code, memory_order_release);
		eventfd_write(f->fd, 1);
	}
	pthread_mutex_unlock(&f->lock);
	if (first)
		hk_log(HK_LOG_INFO, "rank %u: %s", f->rank, f->text);
	return first;
}

int hk_failure_report(struct hk_failure *f)
{
	int code = atomic_load_explicit(&f->code, memory_order_acquire);

	return code ? hk_fail(code, "%s", f->text) : 0;
}

static void tell(struct hk_watches *ws, struct hk_watch *w)
{
	uint8_t payload[HK_NOTICE_BYTES];

	hk_boot_format_notice(&ws->failure->notice, payload);
	/* There is room: once per connection. */
	if (!hk_frame_queue(&w->session, &w->writer, HK_FRAME_NOTICE, payload, sizeof(payload),
			    NULL, 0))
		hk_frame_flush(&w->session, &w->writer);
}

static int64_t patience_ns(void)
{
	return hk_param(HK_PARAM_TCP_TIMEOUT_MS) * HK_BOOT_MS;
}

static void keep_alive(int fd)
{
	int seconds = (int)(patience_ns() / 1000000000), on = 1;
	int idle = seconds > 3 ? seconds / 3 : 1, interval = seconds > 7 ? seconds / 7 : 1;
	int probes = (seconds - idle) / interval;

	if (probes < 1)
		probes = 1;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static void drop(struct hk_watches *ws, unsigned i)
{
	hk_session_close(&ws->list[i]->session);
	free(ws->list[i]);
	ws->list[i] = ws->list[--ws->n];
}

/* A connection to the peer is there: one of the same side that was lost has been replaced. */
static void forget_lost(struct hk_watches *ws, uint32_t peer, bool ours)
{
	for (unsigned i = ws->n; i-- > 0;) {
		const struct hk_watch *w = ws->list[i];

		if (w->lost_at && w->peer == peer && w->ours == ours) {
			drop(ws, i);
			return;
		}
	}
}

int hk_watches_add(struct hk_watches *ws, uint32_t peer, bool ours, const struct hk_session *s)
{
	struct hk_session session = *s;
	struct hk_watch *w = calloc(1, sizeof(*w));

	if (w && ws->n == ws->cap) {
		unsigned cap = ws->cap ? 2 * ws->cap : 8;
		struct hk_watch **grown = realloc(ws->list, cap * sizeof(struct hk_watch *));

		if (grown) {
			ws->list = grown;
			ws->cap = cap;
		}
	}
	if (!w || ws->n == ws->cap) {
		free(w);
		hk_session_close(&session);
		return -ENOMEM;
	}
	forget_lost(ws, peer, ours);
	w->session = session;
	w->peer = peer;
	w->ours = ours;
	w->slot = UINT32_MAX;
	w->reader = (struct hk_reader){.buf = w->in, .cap = sizeof(w->in), .fd = -1};
	w->writer = (struct hk_writer){.buf = w->out, .cap = sizeof(w->out)};
	keep_alive(session.fd);
	hk_links_peer(session.fd, w->peer_addr);
	ws->list[ws->n++] = w;
	if (ws->flooded)
		tell(ws, w);
	return 0;
}

void hk_watches_watch(struct hk_watches *ws, struct hk_pollset *ps)
{
	for (unsigned i = 0; i < ws->n; i++) {
		struct hk_watch *w = ws->list[i];
		short events = w->writer.len ? POLLIN | POLLOUT : POLLIN;

		/* A lost one has no descriptor, and poll leaves it out. */
		w->slot = hk_poll_add(ps, w->session.fd, events);
	}
}

/* Reads all that has come; negative at the end of the stream. */
static int listen_to(struct hk_watches *ws, struct hk_watch *w)
{
	struct hk_notice m;
	struct hk_frame f;
	int n;

	while ((n = hk_frame_read(&w->session, &w->reader, &f)) > 0) {
		if (f.type == HK_FRAME_GOODBYE)
			w->goodbye = true;
		else if (f.type == HK_FRAME_NOTICE &&
			 !hk_boot_parse_notice(f.payload, f.len, ws->nranks, &m))
			hk_failure_set(ws->failure, &m);
		else
			return -HK_EWIRE;
	}
	return n;
}

static bool is_network(int err)
{
	return err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH ||
	       err == -ENETDOWN || err == -EHOSTDOWN;
}

/* The network between us failed, or one of them. */
static void lose(struct hk_watches *ws, struct hk_watch *w)
{
	hk_links_describe(w->session.fd, w->peer_addr, w->way);
	hk_log(HK_LOG_WARN, "rank %u: the control connection with rank %u (%s) is silent; %s",
	       ws->failure->rank, w->peer, w->way,
	       w->ours ? "trying all of its addresses" : "waiting for it to try others");
	hk_session_close(&w->session);
	w->writer.len = w->writer.pos = 0;
	w->lost_at = hk_now_ns();
	if (w->ours)
		ws->redial(ws, w->peer);
}

/* Of two connections that a peer dialled one may have replaced the other before that was noticed.
 */
static bool is_replaced(const struct hk_watches *ws, const struct hk_watch *w)
{
	for (unsigned i = 0; i < ws->n; i++) {
		const struct hk_watch *o = ws->list[i];

		if (o != w && o->peer == w->peer && o->ours == w->ours && !o->lost_at)
			return true;
	}
	return false;
}

/* Whether the watch is to be dropped. */
static bool work(struct hk_watches *ws, struct hk_watch *w, short got)
{
	struct hk_notice m = {.kind = HK_NOTICE_DIED, .origin = w->peer};
	int err = 0;

	if (w->lost_at) {
		if (hk_now_ns() - w->lost_at < patience_ns())
			return false;
		m.kind = HK_NOTICE_LOST;
		/* Nobody else reads it before the failure is set, and it is set once. */
		if (!atomic_load_explicit(&ws->failure->code, memory_order_acquire))
			memcpy(ws->failure->way, w->way, sizeof(w->way));
		hk_failure_set(ws->failure, &m);
		return true;
	}
	if (got)
		err = listen_to(ws, w);
	if (w->writer.len)
		hk_frame_flush(&w->session, &w->writer);
	if (err >= 0)
		return false;
	if (w->goodbye || (is_network(err) && is_replaced(ws, w)))
		return true;
	if (is_network(err)) {
		lose(ws, w);
		return false;
	}
	hk_failure_set(ws->failure, &m);
	return true;
}

int64_t hk_watches_deadline(const struct hk_watches *ws)
{
	int64_t first = INT64_MAX;

	for (unsigned i = 0; i < ws->n; i++)
		if (ws->list[i]->lost_at && ws->list[i]->lost_at + patience_ns() < first)
			first = ws->list[i]->lost_at + patience_ns();
	return first;
}

void hk_watches_work(struct hk_watches *ws, const struct hk_pollset *ps)
{
	for (unsigned i = ws->n; i-- > 0;) {
		struct hk_watch *w = ws->list[i];

		if (work(ws, w, hk_poll_got(ps, w->slot)))
			drop(ws, i);
	}
	if (ws->flooded || !atomic_load_explicit(&ws->failure->code, memory_order_acquire))
		return;
	ws->flooded = true;
	for (unsigned i = 0; i < ws->n; i++)
		if (!ws->list[i]->lost_at)
			tell(ws, ws->list[i]);
}

void hk_watches_close(struct hk_watches *ws, int64_t most_ns)
{
	int64_t deadline = hk_now_ns() + most_ns;

	for (unsigned i = 0; i < ws->n; i++)
		hk_frame_queue(&ws->list[i]->session, &ws->list[i]->writer, HK_FRAME_GOODBYE, NULL,
			       0, NULL, 0);
	for (unsigned i = 0; i < ws->n; i++) {
		struct hk_watch *w = ws->list[i];

		while (!w->lost_at && hk_frame_flush(&w->session, &w->writer) == 0)
			if (hk_net_wait(w->session.fd, POLLOUT, deadline, -1))
				break;
		hk_session_close(&w->session);
		free(w);
	}
	free(ws->list);
	ws->list = NULL;
	ws->n = ws->cap = 0;
}

size_t hk_watches_memory(const struct hk_watches *ws)
{
	return ws->cap * sizeof(struct hk_watch *) + ws->n * sizeof(struct hk_watch);
}
