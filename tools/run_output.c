/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A source is a pipe and the line that is being collected from it. A line goes out whole, in one
 * write with its prefix; one that is longer than the buffer goes out in pieces.
 */
#include "run_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINE 8192

struct source {
	int fd; /* -1: ended */
	int sink, child;
	char prefix[32];
	size_t used;
	char line[LINE + 1];
};

struct hk_run_output {
	void (*told)(void *to, int child, const char *text);
	void *to;
	struct source **sources;
	int n;
};

struct hk_run_output *hk_run_output_open(void (*told)(void *to, int child, const char *text),
					 void *to)
{
	struct hk_run_output *o = calloc(1, sizeof(*o));

	if (o) {
		o->told = told;
		o->to = to;
	}
	return o;
}

int hk_run_output_add(struct hk_run_output *o, int child, int fd, int sink, const char *prefix)
{
	struct source **more = realloc(o->sources, (size_t)(o->n + 1) * sizeof(*more));
	struct source *s = calloc(1, sizeof(*s));

	if (more)
		o->sources = more;
	if (!more || !s) {
		free(s);
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	s->fd = fd;
	s->sink = sink;
	s->child = child;
	snprintf(s->prefix, sizeof(s->prefix), "%s", prefix);
	o->sources[o->n++] = s;
	return 0;
}

/* Whoever reads our output may have gone: what is printed is then lost, and nothing else. */
static void print(const struct source *s, const char *text, size_t bytes)
{
	struct iovec parts[2] = {{(void *)(uintptr_t)s->prefix, strlen(s->prefix)},
				 {(void *)(uintptr_t)text, bytes}};
	struct pollfd room = {.fd = s->sink, .events = POLLOUT};

	while (parts[0].iov_len + parts[1].iov_len) {
		ssize_t n = writev(s->sink, parts, 2);

		if (n < 0 && errno == EAGAIN)
			poll(&room, 1, -1);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return;
		/* A part of it may have been taken. */
		for (int i = 0; i < 2 && n > 0; i++) {
			size_t taken = (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;

			parts[i].iov_base = (char *)parts[i].iov_base + taken;
			parts[i].iov_len -= taken;
			n -= (ssize_t)taken;
		}
	}
}

/* A whole line, or a piece of a long one. */
static void pass_on(struct hk_run_output *o, struct source *s, size_t bytes)
{
	char *mark;

	s->line[bytes] = 0;
	mark = o->told ? strstr(s->line, HK_RUN_MARK) : NULL;
	if (!mark) {
		print(s, s->line, bytes);
		return;
	}
	if (mark > s->line)
		print(s, s->line, (size_t)(mark - s->line));
	mark[strcspn(mark, "\n")] = 0;
	o->told(o->to, s->child, mark + strlen(HK_RUN_MARK));
}

static void pass_lines_on(struct hk_run_output *o, struct source *s)
{
	char *end, after;
	size_t bytes;

	while ((end = memchr(s->line, '\n', s->used)) || s->used == LINE) {
		bytes = end ? (size_t)(end + 1 - s->line) : s->used;
		after = s->line[bytes]; /* pass_on ends the line there */
		pass_on(o, s, bytes);
		s->line[bytes] = after;
		s->used -= bytes;
		memmove(s->line, s->line + bytes, s->used);
	}
}

static void end_source(struct hk_run_output *o, struct source *s)
{
	if (s->fd < 0)
		return;
	if (s->used)
		pass_on(o, s, s->used);
	s->used = 0;
	close(s->fd);
	s->fd = -1;
}

/* What is there by now, and no more: one that prints without pause must not keep us from the
 * others, from signals and from deadlines. */
static void read_source(struct hk_run_output *o, struct source *s)
{
	int left = 0;

	if (s->fd >= 0 && ioctl(s->fd, FIONREAD, &left))
		left = 0;
	do {
		ssize_t n;

		if (s->fd < 0)
			return;
		n = read(s->fd, s->line + s->used, LINE - s->used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			end_source(o, s);
			return;
		}
		s->used += (size_t)n;
		left -= (int)n;
		pass_lines_on(o, s);
	} while (left > 0);
}

int hk_run_output_count(const struct hk_run_output *o)
{
	return o ? o->n : 0;
}

int hk_run_output_poll(const struct hk_run_output *o, struct pollfd *fds, int most)
{
	int n = 0;

	for (int i = 0; o && i < o->n && n < most; i++)
		if (o->sources[i]->fd >= 0)
			fds[n++] = (struct pollfd){.fd = o->sources[i]->fd, .events = POLLIN};
	return n;
}

void hk_run_output_read(struct hk_run_output *o)
{
	for (int i = 0; o && i < o->n; i++)
		read_source(o, o->sources[i]);
}

void hk_run_output_close(struct hk_run_output *o)
{
	if (!o)
		return;
	hk_run_output_read(o);
	for (int i = 0; i < o->n; i++) {
		end_source(o, o->sources[i]);
		free(o->sources[i]);
	}
	free(o->sources);
	free(o);
}
