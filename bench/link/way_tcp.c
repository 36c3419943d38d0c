/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plain sockets: one TCP connection, over the path that the bootstrap uses, with non-blocking sends
 * and receives of whole messages and nothing around them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "polled.h"

struct way {
	struct hk_lp_polled polled;
	int fd;
	uint8_t *in;
	size_t sent, came; /* of the message under way */
};

static struct way *way_of(struct hk_lp_polled *p)
{
	return (struct way *)(void *)p;
}

/* How much moved; 0 if nothing can just now; or the failure. */
static ssize_t judge(ssize_t n, bool sending)
{
	if (n > 0)
		return n;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return 0;
	return hk_fail(HK_EPEER, "the socket to the other rank broke: %s",
		       n == 0 && !sending ? "it was closed there" : hk_code_name(errno));
}

static int post(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);

	while (w->sent < bytes) {
		ssize_t n = judge(send(w->fd, p->way.out + w->sent, bytes - w->sent, MSG_NOSIGNAL),
				  true);

		if (n <= 0)
			return (int)n;
		w->sent += (size_t)n;
	}
	w->sent = 0;
	return 1;
}

static int take(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);

	while (w->came < bytes) {
		ssize_t n = judge(recv(w->fd, w->in + w->came, bytes - w->came, 0), false);

		if (n <= 0)
			return (int)n;
		w->came += (size_t)n;
	}
	w->came = 0;
	p->way.in = w->in;
	return 1;
}

static int settle(struct hk_lp_polled *p)
{
	return 1; /* the kernel has it */
}

static void close_way(struct hk_lp_way *way)
{
	struct way *w = (struct way *)(void *)way;

	if (w->fd >= 0)
		close(w->fd);
	free(way->out);
	free(w->in);
	free(w);
}

static const struct hk_lp_way_ops ops = {
	.pass = hk_lp_polled_pass,
	.await = hk_lp_polled_await,
	.stream = hk_lp_polled_stream,
	.close = close_way,
};

static const struct hk_lp_poll_ops poll_ops = {
	.post = post,
	.take = take,
	.expect = hk_lp_expect_none,
	.tend = hk_lp_tend_none,
	.settle = settle,
};

/* Rank 0 dials. */
static int meet(struct hk_lp_run *run, int *fd)
{
	uint32_t tag = hk_lp_tag(run);
	struct hk_lp_waiting waiting = {0};
	int r = 0;

	if (!run->rank)
		return run->wire->ops->dial(run->wire, run->peer, tag, fd);
	while (!r) {
		r = run->wire->ops->answer(run->wire, run->peer, tag, fd);
		if (!r)
			r = hk_lp_idle(run, &waiting);
	}
	return r < 0 ? r : 0;
}

int hk_lp_open_tcp(struct hk_lp_run *run, struct hk_lp_way **way)
{
	struct way *w = calloc(1, sizeof(*w));
	size_t bytes = run->options->max_bytes;
	int err;

	if (!w)
		return hk_fail(ENOMEM, "no memory for a way");
	w->polled.way = (struct hk_lp_way){.ops = &ops,
					   .run = run,
					   .name = "raw socket",
					   .level = HK_LP_RAW,
					   .out = malloc(bytes)};
	w->polled.poll = &poll_ops;
	w->in = malloc(bytes);
	w->fd = -1;
	err = w->in && w->polled.way.out ? meet(run, &w->fd)
					 : hk_fail(ENOMEM, "no memory for %zu bytes", 2 * bytes);
	if (!err && fcntl(w->fd, F_SETFL, O_NONBLOCK))
		err = hk_fail(errno, "a socket can't be made non-blocking: %s", strerror(errno));
	if (err) {
		close_way(&w->polled.way);
		return err;
	}
	memset(w->polled.way.out, 0, bytes);
	memset(w->in, 0, bytes);
	*way = &w->polled.way;
	return 0;
}
