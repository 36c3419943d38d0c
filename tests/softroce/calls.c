/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls with known results; see calls.h. */
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const call_names[CALL_KINDS] = {"reduce-scatter", "all-gather", "all-reduce"};

int64_t calls_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void calls_join(struct calls *c)
{
	const char *rank = getenv("HOCKET_RANK"), *n = getenv("HOCKET_NRANKS");
	const char *hex = getenv("HOCKET_ID");
	hocketUniqueId id;
	hocketResult_t rc;

	if (!rank || !n || !hex) {
		fprintf(stderr, "start it with `hocket run -n N on-rank PROGRAM`\n");
		exit(2);
	}
	c->rank = atoi(rank);
	c->nranks = atoi(n);
	for (size_t i = 0; i < sizeof(id.internal); i++) {
		unsigned byte = 0;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			exit(2);
		id.internal[i] = (char)byte;
	}
	rc = hocketCommInitRank(&c->comm, c->nranks, id, c->rank);
	if (rc == hocketSuccess)
		return;
	fprintf(stderr, "rank %d: %s: %s\n", c->rank, hocketGetErrorString(rc),
		hocketGetLastError(NULL));
	exit(1);
}

static float *buffer(const struct calls *c)
{
	void *p = NULL;

	if (c->plain ? !(p = malloc(c->count * sizeof(float)))
		     : hocketMemAlloc(&p, c->count * sizeof(float)) != hocketSuccess) {
		fprintf(stderr, "rank %d has no memory\n", c->rank);
		exit(1);
	}
	return p;
}

static void discard(const struct calls *c, float *p)
{
	if (c->plain)
		free(p);
	else
		hocketMemFree(p);
}

void calls_free(struct calls *c)
{
	discard(c, c->in);
	discard(c, c->out[0]);
	discard(c, c->out[1]);
	c->in = c->out[0] = c->out[1] = NULL;
}

void calls_buffers(struct calls *c, size_t count, bool plain)
{
	c->count = count / (size_t)c->nranks * (size_t)c->nranks;
	c->plain = plain;
	c->in = buffer(c);
	c->out[0] = buffer(c);
	c->out[1] = buffer(c);
	c->checked = 0;
}

/* Element i of a rank's input to a call: below 1024, so that sums of 1024 ranks are exact. */
static float element(int rank, uint32_t number, size_t i)
{
	uint32_t x =
		(uint32_t)i * 0x9e3779b1u + number * 0x85ebca6bu + (uint32_t)rank * 0xc2b2ae35u;

	x ^= x >> 15;
	x *= 0x2c1b3c6du;
	return (float)(x >> 22);
}

static float sum(const struct calls *c, uint32_t number, size_t i)
{
	float s = 0;

	for (int r = 0; r < c->nranks; r++)
		s += element(r, number, i);
	return s;
}

/* What a call makes of element i of its result. */
static float expected(const struct calls *c, enum call kind, uint32_t number, size_t i)
{
	size_t share = c->count / (size_t)c->nranks;

	switch (kind) {
	case CALL_REDUCE_SCATTER:
		return sum(c, number, (size_t)c->rank * share + i);
	case CALL_ALL_GATHER:
		return element((int)(i / share), number, i % share);
	default:
		return sum(c, number, i);
	}
}

static size_t length_out(const struct calls *c, enum call kind)
{
	return kind == CALL_REDUCE_SCATTER ? c->count / (size_t)c->nranks : c->count;
}

static unsigned check(const struct calls *c, unsigned which, const char *when)
{
	enum call kind = c->last[which].kind;
	uint32_t number = c->last[which].number;
	size_t n = length_out(c, kind);
	unsigned wrong = 0;

	for (size_t i = 0; i < n; i++) {
		float want = expected(c, kind, number, i);

		if (memcmp(&want, &c->out[which][i], sizeof(want)) == 0)
			continue;
		if (!wrong++)
			fprintf(stderr, "rank %d: %s %u: element %zu of %zu is %g, not %g, %s\n",
				c->rank, call_names[kind], number, i, n, (double)c->out[which][i],
				(double)want, when);
	}
	return wrong;
}

static hocketResult_t call(struct calls *c, enum call kind, float *out)
{
	size_t share = c->count / (size_t)c->nranks;

	switch (kind) {
	case CALL_REDUCE_SCATTER:
		return hocketReduceScatter(c->in, out, share, hocketFloat32, hocketSum, c->comm,
					   NULL);
	case CALL_ALL_GATHER:
		return hocketAllGather(c->in, out, share, hocketFloat32, c->comm, NULL);
	default:
		return hocketAllReduce(c->in, out, c->count, hocketFloat32, hocketSum, c->comm,
				       NULL);
	}
}

hocketResult_t calls_make(struct calls *c, enum call kind, int64_t *ns, unsigned *wrong)
{
	unsigned which = c->made & 1;
	uint32_t number = c->made;
	size_t n = kind == CALL_ALL_GATHER ? c->count / (size_t)c->nranks : c->count;
	hocketResult_t rc;
	int64_t start;

	for (size_t i = 0; i < n; i++)
		c->in[i] = element(c->rank, number, i);
	memset(c->out[which], 0xff, c->count * sizeof(float)); /* not a number, anywhere */
	start = calls_now_ns();
	rc = call(c, kind, c->out[which]);
	*ns = calls_now_ns() - start;
	if (rc != hocketSuccess)
		return rc;
	c->made++;
	c->last[which].kind = kind;
	c->last[which].number = number;
	*wrong += check(c, which, "after its call");
	if (c->checked++)
		*wrong += check(c, !which, "after the call that followed");
	return rc;
}
