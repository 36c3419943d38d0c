/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The service thread of a communicator. It sleeps in poll until somebody calls: then it runs the
 * door's handshakes and does what the guest came for. Ring and dialled connections go into an inbox
 * where the application thread takes them; a fetch is answered with the published descriptor, at
 * once or when it is published; watch connections stay with the thread. So peers get answers
 * however long this rank's application computes.
 *
 * The application thread shares only the inbox, the list of published descriptors and the watch
 * connections that it dialled, under one lock, and wakes the thread through an eventfd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "param.h"

#define GOODBYE_NS (200 * HK_BOOT_MS)

enum { MOST_STRANGERS = 128, MOST_PARKED = 1024, INBOX_BASE = 256, INBOX_PER_RANK = 32 };

/* A fetch that came before the publish. */
struct hk_parked {
	struct hk_session session;
	uint32_t tag;
	int64_t deadline;
	unsigned slot;
};

/* The list with room for one more element of `size` bytes, or NULL. */
static void *grown(void *list, unsigned n, unsigned *cap, size_t size)
{
	unsigned more = *cap ? 2 * *cap : 8;

	if (n < *cap)
		return list;
	list = realloc(list, more * size);
	if (list)
		*cap = more;
	return list;
}

void hk_service_wake(struct hk_service *sv)
{
	eventfd_write(sv->wakefd, 1);
}

/* Sends a last frame that fits an empty socket buffer, with a descriptor unless fd < 0. */
static int send_fd(struct hk_session *s, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	uint8_t buf[HK_FRAME_OVER];
	struct hk_writer w = {.buf = buf, .cap = sizeof(buf)};
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int err = hk_frame_queue(s, &w, HK_FRAME_OK, NULL, 0, NULL, 0);

	if (err)
		return err;
	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(s->fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(buf) ? 0 : -EPIPE;
}

static void refuse(struct hk_session *s, int code, const char *text)
{
	uint8_t payload[4 + HK_BOOT_TEXT], buf[sizeof(payload) + HK_FRAME_OVER];
	struct hk_writer w = {.buf = buf, .cap = sizeof(buf)};

	if (!hk_frame_queue(s, &w, HK_FRAME_ERROR, payload,
			    hk_boot_format_refusal(code, text, payload), NULL, 0))
		hk_frame_flush(s, &w);
	hk_session_close(s);
}

/* Tells the guest and puts it into the inbox. */
static int push(struct hk_service *sv, const struct hk_guest *g, unsigned most)
{
	struct hk_inbox_item item = {g->hello.purpose, g->hello.src, g->hello.tag, g->session};
	struct hk_inbox_item *list;
	int err;

	if (sv->ninbox >= most)
		return -ENOBUFS;
	list = grown(sv->inbox, sv->ninbox, &sv->inbox_cap, sizeof(*list));
	if (!list)
		return -ENOMEM;
	sv->inbox = list;
	err = send_fd(&item.session, -1);
	if (err)
		return err;
	list[sv->ninbox++] = item;
	pthread_cond_broadcast(&sv->arrived);
	return 0;
}

static void deliver(struct hk_service *sv, struct hk_guest *g)
{
	unsigned most = INBOX_BASE + INBOX_PER_RANK * sv->nranks;
	char text[160];
	int err;

	pthread_mutex_lock(&sv->lock);
	err = push(sv, g, most);
	pthread_mutex_unlock(&sv->lock);
	if (!err)
		return;
	snprintf(text, sizeof(text),
		 "rank %u takes no more connections (%s): %u may wait there for its answer",
		 sv->rank, hk_code_name(err), most);
	refuse(&g->session, err, text);
}

/* A duplicate of the published descriptor, as it may be withdrawn meanwhile; or -1. */
static int find_published(struct hk_service *sv, uint32_t tag)
{
	int fd = -1;

	pthread_mutex_lock(&sv->lock);
	for (unsigned i = 0; i < sv->npublished && fd < 0; i++)
		if (sv->published[i].tag == tag)
			fd = fcntl(sv->published[i].fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&sv->lock);
	return fd;
}

static void serve_fetch(struct hk_service *sv, struct hk_guest *g)
{
	int fd = find_published(sv, g->hello.tag);
	int64_t ms = g->hello.timeout_ms;
	struct hk_parked *list = NULL;

	if (fd >= 0) {
		send_fd(&g->session, fd);
		hk_session_close(&g->session);
		close(fd);
		return;
	}
	if (sv->nparked < MOST_PARKED)
		list = grown(sv->parked, sv->nparked, &sv->parked_cap, sizeof(*list));
	if (!list) {
		refuse(&g->session, -ENOBUFS, "too many fetches wait for this rank");
		return;
	}
	sv->parked = list;
	/* A little early, so that the sentence arrives before the guest's deadline. */
	ms -= ms < 2000 ? ms / 8 : 250;
	list[sv->nparked++] = (struct hk_parked){g->session, g->hello.tag,
						 hk_now_ns() + ms * HK_BOOT_MS, UINT32_MAX};
}

static void serve(struct hk_service *sv, struct hk_guest *g)
{
	if (g->hello.purpose == HK_FOR_FETCH) {
		serve_fetch(sv, g);
	} else if (g->hello.purpose == HK_FOR_WATCH) {
		/* Without a place the guest sees the end of the stream, and knows by that. */
		if (send_fd(&g->session, -1))
			hk_session_close(&g->session);
		else
			hk_watches_add(&sv->watches, g->hello.src, false, &g->session);
	} else {
		deliver(sv, g);
	}
}

static void work_parked(struct hk_service *sv)
{
	for (unsigned i = sv->nparked; i-- > 0;) {
		struct hk_parked *p = &sv->parked[i];
		int fd = find_published(sv, p->tag);
		char text[160];

		if (fd >= 0) {
			send_fd(&p->session, fd);
			hk_session_close(&p->session);
			close(fd);
		} else if (hk_poll_got(&sv->polls, p->slot)) {
			/* It has nothing to say: it went away. */
			hk_session_close(&p->session);
		} else if (hk_now_ns() >= p->deadline) {
			snprintf(text, sizeof(text),
				 "rank %u did not publish anything under tag %u in time: is it "
				 "stuck before that?",
				 sv->rank, p->tag);
			refuse(&p->session, -ETIMEDOUT, text);
		} else {
			continue;
		}
		sv->parked[i] = sv->parked[--sv->nparked];
	}
}

/* Takes over the watch connections that the application thread dialled. */
static void adopt(struct hk_service *sv)
{
	pthread_mutex_lock(&sv->lock);
	while (sv->nadopted) {
		struct hk_inbox_item *item = &sv->adopted[--sv->nadopted];

		hk_watches_add(&sv->watches, item->peer, true, &item->session);
	}
	pthread_mutex_unlock(&sv->lock);
}

/* --- watch connections that were lost --- */

struct redial {
	struct hk_service *sv;
	uint32_t peer;
};

static void *redial(void *arg)
{
	struct redial *r = arg;
	struct hk_service *sv = r->sv;
	int64_t deadline = hk_now_ns() + hk_param(HK_PARAM_TCP_TIMEOUT_MS) * HK_BOOT_MS;
	struct hk_session s;

	if (!hk_boot_rewatch(sv, r->peer, deadline, &s))
		hk_service_adopt(sv, r->peer, &s);
	free(r);
	pthread_mutex_lock(&sv->lock);
	sv->redialling--;
	pthread_cond_broadcast(&sv->arrived);
	pthread_mutex_unlock(&sv->lock);
	return NULL;
}

/* In a thread, as it may take long. Without one the peer is lost when its time has passed. */
static void start_redial(struct hk_watches *ws, uint32_t peer)
{
	struct hk_service *sv =
		(struct hk_service *)(void *)((char *)ws - offsetof(struct hk_service, watches));
	struct redial *r = malloc(sizeof(*r));

	if (!r)
		return;
	*r = (struct redial){sv, peer};
	pthread_mutex_lock(&sv->lock);
	sv->redialling++;
	pthread_mutex_unlock(&sv->lock);
	if (!hk_net_thread(NULL, "hocket-watch", redial, r))
		return;
	free(r);
	pthread_mutex_lock(&sv->lock);
	sv->redialling--;
	pthread_mutex_unlock(&sv->lock);
}

static void await_redials(struct hk_service *sv)
{
	eventfd_write(sv->stopfd, 1);
	pthread_mutex_lock(&sv->lock);
	while (sv->redialling)
		pthread_cond_wait(&sv->arrived, &sv->lock);
	pthread_mutex_unlock(&sv->lock);
}

static bool is_stopping(struct hk_service *sv)
{
	bool stopping;

	pthread_mutex_lock(&sv->lock);
	stopping = sv->stopping;
	pthread_mutex_unlock(&sv->lock);
	return stopping;
}

/* One sleep, and what it brought. */
static void turn(struct hk_service *sv)
{
	int64_t deadline = hk_door_deadline(&sv->door);
	int64_t lost = hk_watches_deadline(&sv->watches);
	struct hk_guest guest;
	eventfd_t ignored;

	if (lost < deadline)
		deadline = lost;

	hk_poll_add(&sv->polls, sv->wakefd, POLLIN);
	hk_door_watch(&sv->door, &sv->polls);
	hk_watches_watch(&sv->watches, &sv->polls);
	for (unsigned i = 0; i < sv->nparked; i++) {
		struct hk_parked *p = &sv->parked[i];

		p->slot = hk_poll_add(&sv->polls, p->session.fd, POLLIN);
		if (p->deadline < deadline)
			deadline = p->deadline;
	}
	hk_poll_wait(&sv->polls, deadline);
	if (sv->polls.fds[0].revents)
		eventfd_read(sv->wakefd, &ignored);
	adopt(sv);
	hk_watches_work(&sv->watches, &sv->polls);
	work_parked(sv);
	hk_door_work(&sv->door, &sv->polls);
	while (hk_door_next(&sv->door, &guest))
		serve(sv, &guest);
	if (!sv->announced && atomic_load_explicit(&sv->failure.code, memory_order_acquire)) {
		sv->announced = true;
		pthread_mutex_lock(&sv->lock);
		pthread_cond_broadcast(&sv->arrived);
		pthread_mutex_unlock(&sv->lock);
	}
}

static size_t own_bytes(const struct hk_service *sv)
{
	return hk_door_memory(&sv->door) + hk_watches_memory(&sv->watches) +
	       sv->parked_cap * sizeof(*sv->parked) + sv->polls.cap * sizeof(*sv->polls.fds);
}

static void *run(void *arg)
{
	struct hk_service *sv = arg;

	while (!is_stopping(sv)) {
		unsigned most = 1 + hk_door_fds(&sv->door) + sv->watches.n + sv->nparked;

		atomic_store_explicit(&sv->own_bytes, own_bytes(sv), memory_order_relaxed);
		if (hk_poll_begin(&sv->polls, most))
			usleep(10000);
		else
			turn(sv);
	}
	adopt(sv);
	/* An abort just before the close is still to be told. */
	hk_poll_begin(&sv->polls, 0);
	hk_watches_work(&sv->watches, &sv->polls);
	hk_watches_close(&sv->watches, GOODBYE_NS);
	return NULL;
}

/* Under the lock. */
static bool take(struct hk_service *sv, uint32_t purpose, uint32_t peer, uint32_t tag,
		 struct hk_session *s)
{
	unsigned i = 0, n = sv->ninbox;

	while (i < n && !(sv->inbox[i].purpose == purpose && sv->inbox[i].peer == peer &&
			  sv->inbox[i].tag == tag))
		i++;
	if (i == n)
		return false;
	*s = sv->inbox[i].session;
	/* Keep the order: two dials with one tag are answered in turn. */
	memmove(&sv->inbox[i], &sv->inbox[i + 1], (n - 1 - i) * sizeof(*sv->inbox));
	sv->ninbox = n - 1;
	return true;
}

bool hk_service_try(struct hk_service *sv, uint32_t purpose, uint32_t peer, uint32_t tag,
		    struct hk_session *s)
{
	bool got;

	if (!atomic_load_explicit(&sv->ninbox, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&sv->lock);
	got = take(sv, purpose, peer, tag, s);
	pthread_mutex_unlock(&sv->lock);
	return got;
}

int hk_service_take(struct hk_service *sv, uint32_t purpose, uint32_t peer, uint32_t tag,
		    int64_t deadline, struct hk_session *s)
{
	struct timespec until = {deadline / 1000000000, deadline % 1000000000};
	int err = 0;

	pthread_mutex_lock(&sv->lock);
	for (;;) {
		if (take(sv, purpose, peer, tag, s)) {
			err = 0;
			break;
		}
		if (err)
			break;
		if (atomic_load_explicit(&sv->failure.code, memory_order_acquire))
			err = -HK_EPEER;
		else if (pthread_cond_timedwait(&sv->arrived, &sv->lock, &until))
			err = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&sv->lock);
	return err;
}

int hk_service_publish(struct hk_service *sv, uint32_t tag, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), err = 0;
	struct hk_published *list;

	if (copy < 0)
		return hk_fail(errno, "descriptor %d cannot be published: %s", fd, strerror(errno));
	pthread_mutex_lock(&sv->lock);
	for (unsigned i = 0; i < sv->npublished; i++)
		if (sv->published[i].tag == tag)
			err = -EEXIST;
	list = grown(sv->published, sv->npublished, &sv->published_cap, sizeof(*list));
	if (list)
		sv->published = list;
	else
		err = -ENOMEM;
	if (!err)
		list[sv->npublished++] = (struct hk_published){tag, copy};
	pthread_mutex_unlock(&sv->lock);
	if (err) {
		close(copy);
		return hk_fail(err, "rank %u cannot publish under tag %u: %s", sv->rank, tag,
			       err == -EEXIST ? "it did so before" : "no memory");
	}
	hk_service_wake(sv);
	return 0;
}

void hk_service_withdraw(struct hk_service *sv, uint32_t tag)
{
	pthread_mutex_lock(&sv->lock);
	for (unsigned i = 0; i < sv->npublished; i++) {
		if (sv->published[i].tag != tag)
			continue;
		close(sv->published[i].fd);
		sv->published[i] = sv->published[--sv->npublished];
		break;
	}
	pthread_mutex_unlock(&sv->lock);
}

int hk_service_adopt(struct hk_service *sv, uint32_t peer, const struct hk_session *s)
{
	struct hk_session session = *s;
	struct hk_inbox_item *list;

	pthread_mutex_lock(&sv->lock);
	list = grown(sv->adopted, sv->nadopted, &sv->adopted_cap, sizeof(*list));
	if (list) {
		sv->adopted = list;
		list[sv->nadopted++] = (struct hk_inbox_item){.peer = peer, .session = *s};
	}
	pthread_mutex_unlock(&sv->lock);
	if (!list) {
		hk_session_close(&session);
		return hk_fail(ENOMEM, "no memory for the connection to rank %u", peer);
	}
	hk_service_wake(sv);
	return 0;
}

static int listen_all(struct hk_service *sv, struct hk_contact *contact)
{
	int fds[HK_CONTACT_ADDRS], fd, err;
	unsigned count;

	err = hk_net_listen(contact->addr, HK_CONTACT_ADDRS, fds, &count);
	if (err)
		return err;
	for (unsigned i = 0; i < count; i++)
		hk_door_listen(&sv->door, fds[i], false);
	err = hk_net_listen_local(contact->local, &fd);
	if (!err)
		hk_door_listen(&sv->door, fd, true);
	return err;
}

int hk_service_start(struct hk_service *sv, const struct hk_boot_key *key, uint32_t rank,
		     uint32_t nranks, struct hk_contact *contact)
{
	pthread_condattr_t attr;
	int err;

	memset(sv, 0, sizeof(*sv));
	sv->key = key;
	sv->rank = rank;
	sv->nranks = nranks;
	sv->watches = (struct hk_watches){
		.failure = &sv->failure, .nranks = nranks, .redial = start_redial};
	atomic_init(&sv->own_bytes, 0);
	atomic_init(&sv->ninbox, 0);
	err = hk_failure_init(&sv->failure, rank);
	if (err)
		return err;
	sv->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sv->stopfd = sv->wakefd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sv->stopfd < 0) {
		err = hk_fail(errno, "no eventfd: %s; raise the limit of open files (ulimit -n)",
			      strerror(errno));
		goto undo_failure;
	}
	pthread_mutex_init(&sv->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sv->arrived, &attr);
	pthread_condattr_destroy(&attr);
	hk_door_init(&sv->door, key, rank,
		     1u << HK_FOR_RING | 1u << HK_FOR_WATCH | 1u << HK_FOR_DIAL |
			     1u << HK_FOR_FETCH,
		     MOST_STRANGERS);
	err = listen_all(sv, contact);
	if (!err)
		err = hk_net_thread(&sv->thread, "hocket-boot", run, sv);
	if (!err)
		return 0;
	hk_door_close(&sv->door);
	pthread_cond_destroy(&sv->arrived);
	pthread_mutex_destroy(&sv->lock);
undo_failure:
	hk_net_close(&sv->stopfd);
	hk_net_close(&sv->wakefd);
	hk_failure_destroy(&sv->failure);
	return err;
}

void hk_service_stop(struct hk_service *sv)
{
	pthread_mutex_lock(&sv->lock);
	sv->stopping = true;
	pthread_mutex_unlock(&sv->lock);
	hk_service_wake(sv);
	pthread_join(sv->thread, NULL);
	await_redials(sv);
	for (unsigned i = 0; i < sv->nadopted; i++)
		hk_session_close(&sv->adopted[i].session);
	hk_door_close(&sv->door);
	for (unsigned i = 0; i < sv->ninbox; i++)
		hk_session_close(&sv->inbox[i].session);
	for (unsigned i = 0; i < sv->npublished; i++)
		hk_net_close(&sv->published[i].fd);
	for (unsigned i = 0; i < sv->nparked; i++)
		hk_session_close(&sv->parked[i].session);
	sv->ninbox = sv->npublished = sv->nparked = 0;
	free(sv->inbox);
	free(sv->published);
	free(sv->adopted);
	free(sv->parked);
	free(sv->polls.fds);
	pthread_cond_destroy(&sv->arrived);
	pthread_mutex_destroy(&sv->lock);
	hk_net_close(&sv->stopfd);
	hk_net_close(&sv->wakefd);
	hk_failure_destroy(&sv->failure);
}

size_t hk_service_memory(struct hk_service *sv)
{
	size_t bytes;

	pthread_mutex_lock(&sv->lock);
	bytes = sv->inbox_cap * sizeof(*sv->inbox) + sv->published_cap * sizeof(*sv->published) +
		sv->adopted_cap * sizeof(*sv->adopted);
	pthread_mutex_unlock(&sv->lock);
	return bytes + atomic_load_explicit(&sv->own_bytes, memory_order_relaxed);
}
