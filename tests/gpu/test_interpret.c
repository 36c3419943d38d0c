/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interpreter alone, a block of two threads, between rings whose other ends are the test: what
 * it makes of a message that comes in part, once everything is to stop. Nobody may take for data
 * what was made of nothing: neither this rank's next kernel nor the ranks that it sends to. And how
 * messages lie in slots.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host_kernels.h"
#include "records.h"
#include "types.h"

enum { SLOTS = 2, SLOT_BYTES = 64, LINE_BYTES = 64, WORDS = 4, MARK = 0x1234, THREADS = 2 };

/* One lane: receives from rank 0, keeps it, and sends it on to rank 1. */
struct world {
	_Alignas(128) struct hk_step steps[4]; /* an image, as hk_gpu_plan lays it */
	_Alignas(128) struct hkd_lane lanes[8];
	_Alignas(128) uint8_t in_ring[4096];
	_Alignas(128) uint8_t out_ring[4096];
	_Alignas(16) uint64_t out[WORDS];
	struct hkd_send send;
	struct hkd_recv recv;
	struct hkd_control control;
	uint64_t released_in, released_out, ended, left;
	struct hkd_run run;
};

static uint64_t at(const void *p)
{
	return (uintptr_t)p;
}

static struct world *make(void)
{
	struct world *w = aligned_alloc(128, (sizeof(*w) + 127) / 128 * 128);

	assert_non_null(w);
	memset(w, 0, sizeof(*w));
	assert_true(hkd_ring_bytes(SLOTS, SLOT_BYTES, LINE_BYTES) <= sizeof(w->in_ring));
	w->steps[0] = (struct hk_step){.op = HK_RECV_COPY_SEND, .dst_buf = HK_OUT, .nchunks = 1};
	w->lanes[0] = (struct hkd_lane){.nsteps = 1};
	w->send = (struct hkd_send){.ring = at(w->out_ring),
				    .released = at(&w->released_out),
				    .slots = SLOTS,
				    .slot_bytes = SLOT_BYTES,
				    .line_bytes = LINE_BYTES,
				    .peer = 1};
	w->recv = (struct hkd_recv){.ring = at(w->in_ring),
				    .released = at(&w->released_in),
				    .slots = SLOTS,
				    .slot_bytes = SLOT_BYTES,
				    .line_bytes = LINE_BYTES};
	w->run = (struct hkd_run){.prog = {.steps = at(w->steps),
					   .deps = at(w->lanes),
					   .lanes = at(w->lanes),
					   .sends = at(&w->send),
					   .recvs = at(&w->recv),
					   .ended = at(&w->ended),
					   .image_bytes = sizeof(w->steps) + sizeof(w->lanes),
					   .nlanes = 1,
					   .period = 1},
				  .control = at(&w->control),
				  .left = at(&w->left),
				  .out = at(w->out),
				  .count = WORDS,
				  .share = WORDS,
				  .tile_elems = WORDS,
				  .timeout_ns = 60000000000u,
				  .call = 1,
				  .ntiles = 1,
				  .mark = MARK,
				  .type = HK_UINT64,
				  .esize = 8};
	return w;
}

static uint64_t word(unsigned i)
{
	return 0x0123456789abcdefu * (i + 3);
}

static uint64_t *line(uint8_t *ring, unsigned i)
{
	return (uint64_t *)(void *)(ring + hkd_ring_lines(SLOTS) + 16 * (size_t)i);
}

static void arrive(struct world *w, unsigned i)
{
	__atomic_store_n(line(w->in_ring, i), (word(i) & 0xffffffffu) | 1ull << 32,
			 __ATOMIC_RELAXED);
	__atomic_store_n(line(w->in_ring, i) + 1, word(i) >> 32 | 1ull << 32, __ATOMIC_RELAXED);
}

static void announce(struct world *w)
{
	struct hkd_header *h = (struct hkd_header *)(void *)w->in_ring;

	h->bytes = WORDS * 8 | (uint32_t)HKD_LINES << HKD_KIND_SHIFT | 1ull << 32;
	h->mark = MARK | 1ull << 32;
}

static unsigned lines_sent(struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WORDS; i++) {
		const uint64_t *l = line(w->out_ring, i);

		if (l[0] >> 32 != 1 && l[1] >> 32 != 1)
			continue;
		assert_int_equal(l[0], (word(i) & 0xffffffffu) | 1ull << 32);
		assert_int_equal(l[1], word(i) >> 32 | 1ull << 32);
		n++;
	}
	return n;
}

/* --- a launch --- */

struct block_thread {
	const struct hkd_host_kernel *kernel;
	const void *param;
	void *shared;
	unsigned index;
	pthread_t thread;
};

static void *run_thread(void *arg)
{
	struct block_thread *t = arg;

	t->kernel->run(t->param, t->shared, 0, 1, t->index, THREADS);
	return NULL;
}

/* Runs the kernel; unless stop_after is 0, all is stopped after so many microseconds. */
static void launch(struct world *w, unsigned stop_after)
{
	const struct hkd_host_kernel *kernel = hkd_host_find(HKD_RUN_KERNEL);
	struct block_thread threads[THREADS];
	size_t bytes = (kernel->shared_bytes + 127) / 128 * 128;
	void *shared = aligned_alloc(128, bytes);

	assert_non_null(shared);
	memset(shared, 0xa5, bytes);
	kernel->init_shared(shared, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i] = (struct block_thread){kernel, &w->run, shared, i, 0};
		assert_int_equal(pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]),
				 0);
	}
	if (stop_after) {
		usleep(stop_after);
		__atomic_store_n(&w->control.stop, 1, __ATOMIC_RELEASE);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	free(shared);
}

/* --- cases --- */

static void test_whole(void **state)
{
	struct world *w = make();

	announce(w);
	for (unsigned i = 0; i < WORDS; i++)
		arrive(w, i);
	launch(w, 0);
	assert_int_equal(lines_sent(w), WORDS);
	for (unsigned i = 0; i < WORDS; i++)
		assert_int_equal(w->out[i], word(i));
	assert_int_equal(w->released_in, 1);
	assert_int_equal(w->send.sent, 1);
	assert_int_equal(w->control.calls, 1);
	assert_int_equal(w->left, 0);
	free(w);
}

/* A program that a block has no room for is read where it is. */
static void test_long_program(void **state)
{
	struct world *w = make();

	w->run.prog.image_bytes = 1 << 24;
	announce(w);
	for (unsigned i = 0; i < WORDS; i++)
		arrive(w, i);
	launch(w, 0);
	assert_int_equal(lines_sent(w), WORDS);
	assert_int_equal(w->out[WORDS - 1], word(WORDS - 1));
	free(w);
}

/* The lines that came go on, as they are right; the others do not, and nothing is released. */
static void test_part(void **state)
{
	struct world *w = make();

	announce(w);
	arrive(w, 0);
	launch(w, 30000);
	assert_int_equal(lines_sent(w), 1);
	for (unsigned i = 1; i < WORDS; i++)
		assert_int_equal(w->out[i], 0);
	assert_int_equal(w->released_in, 0);
	assert_int_equal(w->send.sent, 0);
	assert_int_equal(w->left, 1);
	free(w);
}

/* A kernel that was queued behind one that stopped, whose message is there. */
static void test_next(void **state)
{
	struct world *w = make();

	launch(w, 30000);
	assert_int_equal(w->left, 1);
	announce(w);
	for (unsigned i = 0; i < WORDS; i++)
		arrive(w, i);
	launch(w, 0);
	assert_int_equal(lines_sent(w), 0);
	assert_int_equal(((struct hkd_header *)(void *)w->out_ring)->mark, 0);
	assert_int_equal(w->out[0], 0);
	assert_int_equal(w->left, 1);
	free(w);
}

/* A message that is too long for lines lies in its slot as its source does in memory, at any
 * address, and is taken from there. */
static void test_place(void **state)
{
	static _Alignas(16) uint8_t in[SLOT_BYTES + 16];
	struct hkd_header *h;
	struct world *w;
	uint64_t sent;

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + 1);
	for (unsigned place = 0; place < 16; place++) {
		w = make();
		w->steps[0] = (struct hk_step){.op = HK_SEND, .src_buf = HK_IN, .nchunks = 1};
		w->send.line_bytes = 0;
		w->run.in = at(in) + place;
		w->run.type = HK_UINT8;
		w->run.esize = 1;
		w->run.count = w->run.share = w->run.tile_elems = SLOT_BYTES;
		launch(w, 0);
		h = (struct hkd_header *)(void *)w->out_ring;
		assert_int_equal(hkd_header_bytes(h->bytes), SLOT_BYTES);
		assert_int_equal(hkd_header_kind(h->bytes), HKD_SLOT);
		assert_int_equal(hkd_header_place(h->bytes), place);
		sent = hkd_ring_slots(SLOTS, 0) + place;
		assert_memory_equal(w->out_ring + sent, in + place, SLOT_BYTES);
		free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole), cmocka_unit_test(test_long_program),
		cmocka_unit_test(test_part),  cmocka_unit_test(test_next),
		cmocka_unit_test(test_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
