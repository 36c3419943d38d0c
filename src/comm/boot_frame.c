/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sealed frames: head (length, type), payload, MAC. The reader takes exactly one frame off a
 * non-blocking socket, as far as its bytes have come, and shows it only when its seal is right; the
 * writer queues frames in a fixed buffer and sends what the socket takes. Neither allocates.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "boot_internal.h"
#include "error.h"

void hk_session_close(struct hk_session *s)
{
	hk_net_close(&s->fd);
	sodium_memzero(&s->tx, sizeof(s->tx));
	sodium_memzero(&s->rx, sizeof(s->rx));
}

/* recv, and the first descriptor that comes along; others are closed. */
static ssize_t recv_with_fd(struct hk_session *s, struct hk_reader *r, size_t want)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {r->buf + r->got, want};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC);

	if (n < 0)
		return n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (r->fd < 0)
				r->fd = fd;
			else
				close(fd);
		}
	}
	return n;
}

int hk_frame_read(struct hk_session *s, struct hk_reader *r, struct hk_frame *f)
{
	for (;;) {
		uint32_t want = HK_FRAME_HEAD, type, len;
		ssize_t n;

		if (r->got >= HK_FRAME_HEAD) {
			if (hk_boot_parse_head(r->buf, HK_FRAME_HEAD, r->cap - HK_FRAME_OVER, &type,
					       &len))
				return -HK_EWIRE;
			want = HK_FRAME_OVER + len;
			if (r->got == want) {
				r->got = 0;
				if (!hk_auth_open(&s->rx, r->buf, len))
					return -HK_EAUTH;
				*f = (struct hk_frame){type, len, r->buf + HK_FRAME_HEAD};
				return 1;
			}
		}
		if (r->want_fd)
			n = recv_with_fd(s, r, want - r->got);
		else
			n = recv(s->fd, r->buf + r->got, want - r->got, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n > 0)
			r->got += (uint32_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
}

int hk_frame_queue(struct hk_session *s, struct hk_writer *w, uint32_t type, const void *a,
		   uint32_t na, const void *b, uint32_t nb)
{
	uint8_t *p = w->buf + w->len;

	if (w->cap - w->len < HK_FRAME_OVER + na + nb)
		return -ENOBUFS;
	hk_boot_format_head(type, na + nb, p);
	if (na)
		memcpy(p + HK_FRAME_HEAD, a, na);
	if (nb)
		memcpy(p + HK_FRAME_HEAD + na, b, nb);
	hk_auth_seal(&s->tx, p, na + nb);
	w->len += HK_FRAME_OVER + na + nb;
	return 0;
}

int hk_frame_flush(struct hk_session *s, struct hk_writer *w)
{
	while (w->pos < w->len) {
		ssize_t n = send(s->fd, w->buf + w->pos, w->len - w->pos, MSG_NOSIGNAL);

		if (n >= 0)
			w->pos += (uint32_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
	w->pos = w->len = 0;
	return 1;
}

int hk_frame_recv(struct hk_session *s, struct hk_reader *r, int64_t deadline, int failfd,
		  struct hk_frame *f)
{
	for (;;) {
		int n = hk_frame_read(s, r, f), err;

		if (n)
			return n < 0 ? n : 0;
		err = hk_net_wait(s->fd, POLLIN, deadline, failfd);
		if (err)
			return err;
	}
}

int hk_frame_send(struct hk_session *s, uint32_t type, const void *payload, uint32_t len,
		  int64_t deadline, int failfd)
{
	uint8_t buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_writer w = {.buf = buf, .cap = sizeof(buf)};
	int err = hk_frame_queue(s, &w, type, payload, len, NULL, 0);

	while (!err) {
		int n = hk_frame_flush(s, &w);

		if (n)
			return n < 0 ? n : 0;
		err = hk_net_wait(s->fd, POLLOUT, deadline, failfd);
	}
	return err;
}
