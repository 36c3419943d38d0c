/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a failure becomes known. Each rank holds a connection to the ranks at distance 1, 2, 4 ...
 * above and below it. The kernel closes them when a process ends, however it ends, so an end of
 * stream without a goodbye before it means a death. Whoever learns of a death, or of a rank that
 * gives up, tells all its neighbours once; so everyone knows after at most log2 n hops. Keep-alive
 * probes find hosts that vanish without a word, within about half a minute.
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

enum { FRAME = HK_NOTICE_BYTES + HK_FRAME_OVER };

struct hk_watch {
	struct hk_session session;
	uint32_t peer;
	unsigned slot;
	bool goodbye; /* the peer said it */
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

static void keep_alive(int fd)
{
	int on = 1, idle_s = 10, interval_s = 4, probes = 5;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

int hk_watches_add(struct hk_watches *ws, uint32_t peer, const struct hk_session *s)
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
	w->session = session;
	w->peer = peer;
	w->slot = UINT32_MAX;
	w->reader = (struct hk_reader){.buf = w->in, .cap = sizeof(w->in), .fd = -1};
	w->writer = (struct hk_writer){.buf = w->out, .cap = sizeof(w->out)};
	keep_alive(session.fd);
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

void hk_watches_work(struct hk_watches *ws, const struct hk_pollset *ps)
{
	for (unsigned i = ws->n; i-- > 0;) {
		struct hk_watch *w = ws->list[i];
		int err = 0;

		if (hk_poll_got(ps, w->slot))
			err = listen_to(ws, w);
		if (w->writer.len)
			hk_frame_flush(&w->session, &w->writer);
		if (err >= 0)
			continue;
		if (!w->goodbye)
			hk_failure_set(ws->failure, &(struct hk_notice){.kind = HK_NOTICE_DIED,
									.origin = w->peer});
		hk_session_close(&w->session);
		free(w);
		ws->list[i] = ws->list[--ws->n];
	}
	if (ws->flooded || !atomic_load_explicit(&ws->failure->code, memory_order_acquire))
		return;
	ws->flooded = true;
	for (unsigned i = 0; i < ws->n; i++)
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

		while (hk_frame_flush(&w->session, &w->writer) == 0)
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
