/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules as text: every algorithm's reads back as it was printed and proves; and texts with one
 * thing wrong are refused with the line that is wrong. Files and directories, too.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "file.h"
#include "programs.h"

static char *printed(const struct hk_schedule *s, size_t *length)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, length);

	assert_non_null(f);
	assert_int_equal(hk_schedule_write(s, f), 0);
	fclose(f);
	return text;
}

static void round_trip(const struct hk_schedule *s)
{
	size_t length = 0, again_length = 0;
	char *text = printed(s, &length), *again;
	struct hk_schedule *read = NULL;
	struct hk_report report;

	if (hk_schedule_read(text, length, "printed", &read))
		fail_msg("%s\n%s", hk_last_error(), text);
	again = printed(read, &again_length);
	assert_string_equal(text, again);
	assert_int_equal(read->problem.coll, s->problem.coll);
	assert_int_equal(read->problem.root, s->problem.root);
	assert_true(read->min_bytes == s->min_bytes && read->max_bytes == s->max_bytes);
	if (hk_schedule_prove(read, 2, &report))
		fail_msg("%s: %s", s->name, report.text);
	for (int i = 0; i < s->n; i++) {
		const struct hk_program *a = s->programs[i], *b = read->programs[i];

		assert_int_equal(a->nsteps, b->nsteps);
		for (uint32_t k = 0; k < a->nsteps; k++) {
			struct hk_step x = a->steps[k], y = b->steps[k];

			x.dep = y.dep = 0; /* the tables may be in another order */
			assert_memory_equal(&x, &y, sizeof(x));
		}
	}
	hk_schedule_free(read);
	free(again);
	free(text);
}

static void test_every_algorithm(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (unsigned form = 0; form < 8 * 7; form++) {
			bool inplace = form & 1, fuse = form & 2;
			struct hk_schedule s = {.max_bytes = form & 4 ? UINT64_MAX : form * 1000,
						.min_bytes = form,
						.inplace = inplace,
						.outofplace = !inplace};
			struct world w;
			int n = 1 + (int)form / 8;

			snprintf(s.name, sizeof(s.name), "%s-%u", hk_algos[a]->name, form);
			if (world_build(&w, hk_algos[a], n, 1 + form % 3, inplace, fuse))
				continue;
			s.problem = w.p;
			s.problem.inplace = false;
			s.n = w.n;
			s.programs = w.programs;
			round_trip(&s);
			world_free(&w);
		}
	}
}

/* By hand, and not right, as rank 1 receives only once: comments, blanks, any order of facts, sizes
 * of scratch, a serial program, two names. */
static const char example[] =
	"# an exchange, through scratch\r\n"
	"hocket schedule 1\n"
	"\n"
	"ranks 2   # two\n"
	"name by_hand\n"
	"collective all_gather\n"
	"bytes 16 4096\n"
	"for out_of_place in_place\n"
	"program rank 0: period 2, chunks in 2 out 4 scratch 1, messages of "
	"up to 1, serial\n"
	"lane 0 channel 0\n"
	"  0: send in[0], to 1\n"
	"  1: send in[1], to 1\n"
	"  2: copy in[0..1] -> out[0..1]\n"
	"  3: recv from 1 -> out[2]\n"
	"  4: recv from 1 -> scratch[0] size 1\n"
	"  5: copy scratch[0] -> out[3]\n"
	"program rank 1: period 2, chunks in 2 out 4 scratch 0, messages of "
	"up to 1\n"
	"lane 0 channel 0\n"
	"  0: send in[0], to 0\n"
	"  1:send in[1],to 0\n"
	"  2: recv from 0 -> out[0]\n"
	"lane 1 channel 0\n"
	"  0: copy in[0..1] -> out[2..3] (after lane 0 step 0, lane 0 step 1)\n"
	"lane 2 channel 0\n";

static const char example_end[] = "  0: copy out[0] -> out[0] (after lane 0 step 2)\n";

static struct hk_schedule *read_example(void)
{
	char text[2048];
	struct hk_schedule *s = NULL;

	snprintf(text, sizeof(text), "%s%s", example, example_end);
	if (hk_schedule_read(text, strlen(text), "example", &s))
		fail_msg("%s", hk_last_error());
	return s;
}

static void test_by_hand(void **state)
{
	struct hk_schedule *s = read_example();
	struct hk_report report;

	assert_string_equal(s->name, "by_hand");
	assert_true(s->inplace && s->outofplace && s->problem.channels == 1);
	assert_int_equal(s->min_bytes, 16);
	assert_int_equal(s->max_bytes, 4096);
	assert_true(s->programs[0]->serial && !s->programs[1]->serial);
	assert_int_equal(s->programs[0]->steps[4].size, 1);
	assert_int_equal(s->programs[1]->lanes[1].nsteps, 1);
	assert_int_equal(s->programs[1]->steps[3].ndeps, 2);
	/* what it lacks is said by rank, lane and step */
	assert_int_equal(hk_schedule_prove(s, 4, &report), -HK_EPROOF);
	assert_non_null(strstr(report.text, "rank 0, lane 0, step 1 (send)"));
	hk_schedule_free(s);
}

/* The example with `from` replaced by `to`, where it first occurs. */
static int read_changed(const char *from, const char *to)
{
	char text[4096], whole[2048];
	struct hk_schedule *s = NULL;
	const char *at;
	int rc;

	snprintf(whole, sizeof(whole), "%s%s", example, example_end);
	at = strstr(whole, from);
	if (!at)
		fail_msg("the example does not say '%s'", from);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
	rc = hk_schedule_read(text, strlen(text), "f", &s);
	hk_schedule_free(s);
	return rc;
}

static void test_complaints(void **state)
{
	static const char *const wrong[][3] = {
		{"schedule 1", "schedule 2", "f:2: the format's version (1) is more than 1"},
		{"schedule 1", "schedule 0", "f:2: there is no version 0"},
		{"hocket", "rocket", "f:2: 'hocket' should stand before 'rocket"},
		{"ranks 2 ", "ranks 0 ", "f:4: the number of ranks is less than 1"},
		{"ranks 2 ", "ranks 2147483648 ", "f:4: the number of ranks is more than"},
		{"ranks 2 ", "ranks 18446744073709551617 ", "f:4: the number of ranks is more"},
		{"ranks 2 ", "ranks ", "f:4: the number of ranks is missing at the end"},
		{"ranks 2 ", "ranks 3 ", "f:9: participant 0: in and out have 2 and 4 chunks"},
		{"ranks 2 ", "ranks 1 ", "f:9: participant 0: in and out have 2 and 4 chunks"},
		{"name by_hand", "name by hand", "f:5: a name has no blanks"},
		{"name by_hand", "ranks 2", "f:5: 'ranks' is told a second time"},
		{"name by_hand", "", "f:9: the programs begin, but no line has told 'name'"},
		{"all_gather", "all_things", "f:6: a collective"},
		{"all_gather", "point_to_point", "f:6: a collective"},
		{"all_gather", "all_reduce", "f:9: participant 0: in and out have"},
		{"all_gather", "all_gather\nroot 2", "f:10: the root is no rank"},
		{"16 4096", "4097 4096", "f:7: the most bytes are fewer"},
		{"16 4096", "16", "f:7: the most bytes, or 'unlimited',"},
		{"in_place\n", "in_places\n", "f:8: 'in_place' or 'out_of_place'"},
		{"rank 0: period", "rank 1: period", "f:9: here the program of rank 0"},
		{"period 2", "period 0", "f:9: the period is 0"},
		{"period 2", "period 4294967296", "f:9: the period is more than 16777216"},
		{"scratch 1", "scratch 4194304", "f: buffers of 4194316 chunks"},
		{"scratch 1", "scratch 99999999", "f:9: the chunks of scratch is more"},
		{"up to 1", "up to 70000", "f:9: the longest message is more than 65535"},
		{"serial", "cereal", "f:9: 'serial' should stand before 'cereal'"},
		{"lane 0", "lane 1", "f:10: here lane 0 should begin, not 1"},
		{"channel 0", "channel 5000", "f:10: the channel is more than 1023"},
		{"lane 0 channel 0\n", "", "f:10: 'lane' or 'program' should stand before"},
		{"  0: send", "  1: send", "f:11: this is step 0, not 1"},
		{"send in[0]", "sent in[0]", "f:11: an op"},
		{"send in[0]", "send in[2]", "f:11: participant 0, lane 0, step 0 (send): reads"},
		{"send in[0]", "send inn[0]", "f:11: chunks of in, out or scratch"},
		{"send in[0]", "send from 1", "f:11: send takes nothing from a peer"},
		{"send in[0]", "send in[0] + in[1]", "f:11: send takes one operand"},
		{"in[0..1] -> out", "in[0..4000000000] -> out", "f:13: a step moves 1 to"},
		{"in[0..1] -> out", "in[1..0] -> out", "f:13: a step moves 1 to"},
		{"in[0..1] -> out", "in[0] -> out", "f:13: 2 chunks meet 1"},
		{"[0], to 1", "[0], to 2", "f:11: participant 0, lane 0, step 0 (send): names"},
		{"[0], to 1", "[0], to 0", "f:11: participant 0, lane 0, step 0 (send): names"},
		{"[0], to 1", "[0], to 4294967295", "f:11: a participant is more than"},
		{"[0], to 1", "[0]", "f:11: ',' is missing at the end of the line"},
		{"[0], to 1", "[0], to 1 1", "f:11: the end of the line should stand before '1'"},
		{"size 1", "size 2", "f:15: participant 0, lane 0, step 4 (recv): gives a size"},
		{"copy scratch[0] ->", "copy scratch[0] size 1 ->", "f:16: '->' should stand"},
		{"step 1)", "step 9)", "f:23: participant 1, lane 1, step 0 (copy): waits for"},
		{"step 1)", "step 1", "f:23: ')' is missing"},
		{"program rank 1", "programme rank 1", "f:17: 'lane', 'program' or a step"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(read_changed(wrong[i][0], wrong[i][1]), -EINVAL);
		if (strncmp(hk_last_error(), wrong[i][2], strlen(wrong[i][2])) != 0)
			fail_msg("'%s' for '%s' does not begin with '%s'", hk_last_error(),
				 wrong[i][1], wrong[i][2]);
	}
}

/* Cut off anywhere, it is refused, and the end of the file is the line that is told. */
static void test_truncated(void **state)
{
	struct hk_schedule *s;

	for (size_t n = 0; n < strlen(example); n++) {
		char *copy = malloc(n + 1); /* so that a sanitizer sees a read past its end */
		int rc;

		assert_non_null(copy);
		memcpy(copy, example, n);
		s = NULL;
		rc = hk_schedule_read(copy, n, "cut", &s);
		free(copy);
		/* what is whole line by line may be a schedule: it is then for the proof */
		if (!rc)
			hk_schedule_free(s);
		else
			assert_memory_equal(hk_last_error(), "cut:", 4);
		if (rc == 0)
			assert_true(n > strlen(example) / 2);
	}
}

/* Bytes changed at random: an error or a schedule, never more. */
static void test_garbage(void **state)
{
	uint64_t random = 7;
	char text[2048];

	for (int round = 0; round < 20000; round++) {
		struct hk_schedule *s = NULL;
		size_t n = (size_t)snprintf(text, sizeof(text), "%s%s", example, example_end);

		for (int k = 1 + round % 5; k; k--)
			text[next_random(&random) % n] =
				next_random(&random) & 1 ? (char)(next_random(&random) >> 56)
							 : text[next_random(&random) % n];
		if (hk_schedule_read(text, n, "garbage", &s))
			assert_true(strlen(hk_last_error()) > 8);
		else
			hk_schedule_prove(s, 4, &(struct hk_report){0});
		hk_schedule_free(s);
	}
}

struct seen {
	unsigned good, bad;
	char text[512];
};

static void note(void *arg, const char *path, struct hk_schedule *s)
{
	struct seen *seen = arg;

	if (s) {
		seen->good++;
		assert_string_equal(s->name, "by_hand");
	} else {
		seen->bad++;
		assert_non_null(strstr(hk_last_error(), path));
	}
	snprintf(seen->text + strlen(seen->text), sizeof(seen->text) - strlen(seen->text), "%s ",
		 strrchr(path, '/') + 1);
	hk_schedule_free(s);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (!text) {
		unlink(path);
		return;
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_directory(void **state)
{
	char dir[] = "/tmp/hocket-test-XXXXXX", whole[2048], pipe[64];
	static const char *const names[] = {"b.hks", "a.hks", "c.xml", "d.txt", "e.hks"};
	struct hk_schedule *s = NULL;
	struct seen seen = {0};

	snprintf(whole, sizeof(whole), "%s%s", example, example_end);
	assert_non_null(mkdtemp(dir));
	put_file(dir, "b.hks", whole);
	put_file(dir, "a.hks", whole);
	put_file(dir, "c.xml", "<algo");
	put_file(dir, "d.txt", "of no interest");
	put_file(dir, "e.hks", "");
	snprintf(pipe, sizeof(pipe), "%s/f.hks", dir); /* must not wait for a writer */
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(hk_schedule_load_all(dir, note, &seen), 0);
	assert_string_equal(seen.text, "a.hks b.hks c.xml e.hks f.hks ");
	assert_int_equal(seen.good, 2);
	assert_int_equal(seen.bad, 3);
	assert_int_equal(unlink(pipe), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put_file(dir, names[i], NULL);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(hk_schedule_load_all(dir, note, &seen), -ENOENT);
	assert_int_equal(hk_schedule_load(dir, &s), -ENOENT);
	assert_int_equal(hk_schedule_load("/", &s), -EINVAL);
}

static void test_bytes(void **state)
{
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 8, .channels = 1};

	assert_int_equal(hk_schedule_bytes(&p, 100), 100);
	p.coll = HK_REDUCE_SCATTER;
	assert_int_equal(hk_schedule_bytes(&p, 100), 800);
	p.coll = HK_GATHER;
	p.root = 3;
	assert_int_equal(hk_schedule_bytes(&p, 100), 800);
	assert_true(hk_schedule_bytes(&p, UINT64_MAX / 4) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_algorithm), cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_complaints),	cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_garbage),		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
