/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Serial programs, and observers. Two ranks exchange blocks through scratch that successive tiles
 * would share: the checker refuses it unless the programs are serial, and then the executor starts
 * no tile before all lanes have ended the one before. The steps' observer shows that they do. Also
 * a copy from IN to OUT that is in place a copy onto itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "exec.h"
#include "file.h"
#include "loop.h"

#define SLOT_BYTES 4096u
#define COUNT	   5000u /* int32: five tiles or more */
#define MAX_TILES  128

static const char text[] =
	"hocket schedule 1\n"
	"name through_scratch\n"
	"collective all_gather\n"
	"ranks 2\n"
	"for out_of_place in_place\n"
	"program rank 0: period 1, chunks in 1 out 2 scratch 1, messages of up to 1%s\n"
	"lane 0 channel 0\n"
	"  0: recv from 1 -> scratch[0]\n"
	"lane 1 channel 0\n"
	"  0: send in[0], to 1\n"
	"lane 2 channel 0\n"
	"  0: copy scratch[0] -> out[1] (after lane 0 step 0)\n"
	"  1: copy in[0] -> out[0] (after lane 1 step 0)\n"
	"program rank 1: period 1, chunks in 1 out 2 scratch 1, messages of up to 1%s\n"
	"lane 0 channel 0\n"
	"  0: recv from 0 -> scratch[0]\n"
	"lane 1 channel 0\n"
	"  0: send in[0], to 0\n"
	"lane 2 channel 0\n"
	"  0: copy scratch[0] -> out[0] (after lane 0 step 0)\n"
	"  1: copy in[0] -> out[1] (after lane 1 step 0)\n";

static struct hk_schedule *read_it(bool serial)
{
	const char *word = serial ? ", serial" : "";
	struct hk_schedule *s = NULL;
	char whole[2048];

	snprintf(whole, sizeof(whole), text, word, word);
	if (hk_schedule_read(whole, strlen(whole), "text", &s))
		fail_msg("%s", hk_last_error());
	return s;
}

static void test_proof(void **state)
{
	struct hk_schedule *s = read_it(false);
	struct hk_report report;

	assert_int_equal(hk_schedule_prove(s, 2, &report), -HK_EPROOF);
	assert_int_equal(report.phase, HK_CHECK_RACE);
	assert_non_null(strstr(report.text, "for the next tile"));
	hk_schedule_free(s);
	s = read_it(true);
	assert_int_equal(hk_schedule_prove(s, 2, &report), 0);
	hk_schedule_free(s);
}

struct rank {
	struct hk_binder binder;
	struct hk_observer observer;
	struct hk_endpoint *ep;
	struct hk_plan *plan;
	int32_t in[COUNT], out[2 * COUNT];
	unsigned seen[MAX_TILES]; /* steps of each tile */
	bool overtaken;		  /* a step of a tile before all of the tile before */
};

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	struct hk_endpoint *ep = ((struct rank *)b)->ep;

	return ep->transport->connect_send(ep, peer, channel, NULL, conn);
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	struct hk_endpoint *ep = ((struct rank *)b)->ep;

	return ep->transport->connect_recv(ep, peer, channel, NULL, conn);
}

static void on_step(struct hk_observer *o, uint32_t lane, uint32_t step, uint32_t tile)
{
	struct rank *r = (struct rank *)((char *)o - offsetof(struct rank, observer));

	assert_true(tile < MAX_TILES && lane < 3 && step < 2);
	r->seen[tile]++;
	if (tile && r->seen[tile - 1] < 4)
		r->overtaken = true;
}

static void open_rank(struct rank *r, int rank, const struct hk_schedule *s, bool inplace,
		      struct hk_loop *loop)
{
	struct hk_problem p = hk_schedule_problem(s, inplace);
	struct hk_endpoint_env env = {.rank = rank,
				      .nranks = 2,
				      .channels = 1,
				      .slots = 8, /* enough to run ahead */
				      .slot_bytes = SLOT_BYTES * hk_plan_stretch(2, SLOT_BYTES),
				      .loop = loop};
	const struct hk_transport *t = hk_transport_find("loop");
	struct hk_program *prog;
	struct hk_addr addr;

	memset(r, 0, sizeof(*r));
	r->binder = (struct hk_binder){bind_send, bind_recv, 0};
	r->observer = (struct hk_observer){on_step};
	assert_int_equal(t->open(&env, &r->ep, &addr), 0);
	assert_int_equal(hk_program_clone(s->programs[rank], &prog), 0);
	assert_int_equal(hk_plan_create(&p, prog, &r->binder, SLOT_BYTES, 1 << 20, &r->plan), 0);
	hk_plan_observe(r->plan, &r->observer);
}

static void begin(struct rank *r, int rank, bool inplace)
{
	struct hk_call call = {.in = inplace ? r->out + rank * (int)COUNT : r->in,
			       .out = r->out,
			       .count = COUNT,
			       .type = HK_INT32,
			       .op = HK_SUM,
			       .mark = 9};

	memset(r->seen, 0, sizeof(r->seen));
	memset(r->out, 0xff, sizeof(r->out));
	for (int i = 0; i < (int)COUNT; i++)
		((int32_t *)(inplace ? r->out + rank * (int)COUNT : r->in))[i] = i * 3 + rank;
	hk_plan_begin(r->plan, &call);
}

/* Rank 0 is polled this many times for each time that rank 1 is. */
static void run(struct rank *r, int eager)
{
	int done[2] = {0};

	for (int polls = 0; !(done[0] && done[1]); polls++) {
		int rank = polls % (eager + 1) == 0;
		bool moved = false;

		assert_true(polls < 100000);
		if (!done[rank])
			done[rank] = hk_plan_poll(r[rank].plan, &moved);
		assert_true(done[rank] >= 0);
	}
}

static void check(const struct rank *r)
{
	for (int rank = 0; rank < 2; rank++) {
		unsigned tiles = 0;

		for (int i = 0; i < (int)COUNT; i++) {
			assert_int_equal(r[rank].out[i], i * 3);
			assert_int_equal(r[rank].out[(int)COUNT + i], i * 3 + 1);
		}
		while (r[rank].seen[tiles])
			assert_int_equal(r[rank].seen[tiles++], 4);
		assert_in_range(tiles, 5, MAX_TILES - 1);
	}
}

static void run_form(bool serial, bool inplace)
{
	struct hk_schedule *s = read_it(serial);
	struct rank *r = calloc(2, sizeof(*r));
	struct hk_loop *loop;
	bool overtaken = false;

	assert_non_null(r);
	assert_int_equal(hk_loop_create(2, NULL, &loop), 0);
	for (int rank = 0; rank < 2; rank++)
		open_rank(&r[rank], rank, s, inplace, loop);
	for (int eager = 1; eager <= 20; eager += 3) {
		for (int rank = 0; rank < 2; rank++)
			begin(&r[rank], rank, inplace);
		run(r, eager);
		if (serial)
			check(r);
		overtaken |= r[0].overtaken || r[1].overtaken;
	}
	assert_int_equal(overtaken, !serial);
	for (int rank = 0; rank < 2; rank++) {
		hk_plan_destroy(r[rank].plan);
		r[rank].ep->transport->close(r[rank].ep);
	}
	hk_loop_destroy(loop);
	hk_schedule_free(s);
	free(r);
}

static void test_serial(void **state)
{
	run_form(true, false);
	run_form(true, true);
}

/* Or the test would show nothing. */
static void test_not_serial(void **state)
{
	run_form(false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proof),
		cmocka_unit_test(test_serial),
		cmocka_unit_test(test_not_serial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
