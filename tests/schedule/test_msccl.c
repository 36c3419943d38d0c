/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The importer of MSCCL's XML. The published algorithms are proved, and their programs written as
 * text prove as well. Then each is damaged, systematically: a step goes, or moves, a dependency
 * goes, an offset, a count, a type, a peer, a channel, a buffer changes. Every such mutant is
 * refused with a reason, or it is as right as it was, and an interpreter that knows nothing of the
 * importer and the checker (msccl_model.c) agrees. Last, files that are no such XML at all.
 *
 * Arguments: the folder with the algorithms; how many mutants of each kind to take from a file.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "error.h"
#include "file.h"
#include "msccl_model.h"
#include "programs.h"

#define MOST_FILES 64
#define SLOTS	   64

static const char *folder;
static unsigned per_kind = 5;
static char *paths[MOST_FILES];
static unsigned npaths;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void test_published(void **state)
{
	assert_int_equal(npaths, 18);
	for (unsigned i = 0; i < npaths; i++) {
		struct hk_schedule *s = NULL;
		struct hk_report report;
		double start = seconds();

		if (hk_schedule_load(paths[i], &s))
			fail_msg("%s", hk_last_error());
		if (hk_schedule_prove(s, 2, &report))
			fail_msg("%s: %s", paths[i], report.text);
		/* Milliseconds, really: the sanitizers and a busy machine need some room. */
		assert_true(seconds() - start < 2);
		assert_true(s->min_bytes < s->max_bytes && s->outofplace);
		/* In one pass every rank adds up for itself, beginning with its own. */
		assert_int_equal(report.bits_differ, strstr(paths[i], "1pass") != NULL);
		hk_schedule_free(s);
	}
}

static void test_as_text(void **state)
{
	for (unsigned i = 0; i < npaths; i++) {
		struct hk_schedule *s = NULL, *again = NULL;
		struct hk_report report;
		size_t length = 0;
		char *text = NULL;
		FILE *f = open_memstream(&text, &length);

		assert_int_equal(hk_schedule_load(paths[i], &s), 0);
		assert_non_null(f);
		assert_int_equal(hk_schedule_write(s, f), 0);
		fclose(f);
		if (hk_schedule_read(text, length, paths[i], &again))
			fail_msg("%s", hk_last_error());
		assert_int_equal(hk_schedule_prove(again, 2, &report), 0);
		assert_true(again->inplace == s->inplace && again->outofplace == s->outofplace);
		assert_true(again->min_bytes == s->min_bytes && again->max_bytes == s->max_bytes);
		hk_schedule_free(s);
		hk_schedule_free(again);
		free(text);
	}
}

/* --- mutants --- */

/* One place in a model. */
struct spot {
	struct model_gpu *gpu;
	struct model_tb *tb;
	int at;
	struct model_step *step;
};

static bool remove_step(const struct model *m, struct spot s, unsigned variant)
{
	memmove(s.step, s.step + 1, (size_t)(s.tb->nsteps - s.at - 1) * sizeof(*s.step));
	s.tb->nsteps--;
	for (int t = 0; t < s.gpu->ntbs; t++) {
		for (int i = 0; i < s.gpu->tbs[t].nsteps; i++) {
			struct model_step *d = &s.gpu->tbs[t].steps[i];

			if (d->dep_tb != s.tb->id || d->dep_step < s.at)
				continue;
			if (d->dep_step > s.at || d->dep_step > 0)
				d->dep_step--;
			else
				d->dep_tb = d->dep_step = -1;
		}
	}
	return true;
}

static bool swap_steps(const struct model *m, struct spot s, unsigned variant)
{
	struct model_step step = *s.step;

	if (s.at + 1 == s.tb->nsteps)
		return false;
	*s.step = s.step[1];
	s.step[1] = step;
	return true;
}

static bool remove_dep(const struct model *m, struct spot s, unsigned variant)
{
	if (s.step->dep_tb < 0)
		return false;
	s.step->dep_tb = s.step->dep_step = -1;
	return true;
}

static bool move_dep(const struct model *m, struct spot s, unsigned variant)
{
	const struct model_tb *to = &s.gpu->tbs[variant % (unsigned)s.gpu->ntbs];

	if (!to->nsteps)
		return false;
	s.step->dep_tb = to->id;
	s.step->dep_step = (int)(variant / 3 % (unsigned)to->nsteps);
	return true;
}

static bool move_source(const struct model *m, struct spot s, unsigned variant)
{
	s.step->src += variant % 2 ? 1 : -1;
	return true;
}

static bool move_target(const struct model *m, struct spot s, unsigned variant)
{
	s.step->dst += variant % 2 ? 1 : -1;
	return true;
}

static bool change_count(const struct model *m, struct spot s, unsigned variant)
{
	static const int counts[] = {0, 2, 3, 65535, 65536, INT32_MAX, -1, INT32_MIN};

	s.step->count = counts[variant % 8];
	return true;
}

static bool change_type(const struct model *m, struct spot s, unsigned variant)
{
	static const char *const types[] = {"s",   "r",	 "rcs", "rrs", "rrc", "rrcs",
					    "cpy", "re", "nop", "x",   ""};

	snprintf(s.step->type, sizeof(s.step->type), "%s", types[variant % 11]);
	return true;
}

static bool change_peer(const struct model *m, struct spot s, unsigned variant)
{
	int *peer = variant & 1 ? &s.tb->send : &s.tb->recv;

	*peer = (int)(variant / 2 % (unsigned)(m->ngpus + 2)) - 1;
	return true;
}

static bool change_channel(const struct model *m, struct spot s, unsigned variant)
{
	s.tb->channel += variant % 2 ? 1 : -1;
	return true;
}

static bool change_buffer(const struct model *m, struct spot s, unsigned variant)
{
	char *buf = variant & 1 ? &s.step->src_buf : &s.step->dst_buf;

	*buf = "iosx"[variant / 2 % 4];
	return true;
}

static bool shrink_scratch(const struct model *m, struct spot s, unsigned variant)
{
	s.gpu->s_chunks = (int)variant % 5;
	return true;
}

static const struct kind {
	const char *name;
	bool (*change)(const struct model *m, struct spot s, unsigned variant);
} kinds[] = {
	{"remove a step", remove_step},	     {"swap steps", swap_steps},
	{"remove a dependency", remove_dep}, {"move a dependency", move_dep},
	{"move a source", move_source},	     {"move a target", move_target},
	{"change a count", change_count},    {"change a type", change_type},
	{"change a peer", change_peer},	     {"change a channel", change_channel},
	{"change a buffer", change_buffer},  {"shrink scratch", shrink_scratch},
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static int count_steps(const struct model *m)
{
	int n = 0;

	for (int g = 0; g < m->ngpus; g++)
		for (int t = 0; t < m->gpus[g].ntbs; t++)
			n += m->gpus[g].tbs[t].nsteps;
	return n;
}

static struct spot find_spot(const struct model *m, int number)
{
	for (int g = 0;; g++) {
		for (int t = 0; t < m->gpus[g].ntbs; t++) {
			struct model_tb *tb = &m->gpus[g].tbs[t];

			if (number < tb->nsteps)
				return (struct spot){&m->gpus[g], tb, number, &tb->steps[number]};
			number -= tb->nsteps;
		}
	}
}

struct tally {
	unsigned mutants, unread, refused, right, unchanged;
};

/* The mutant is refused with a reason, or right. */
static void judge(const struct model *m, const char *original, size_t original_length,
		  const char *what, struct tally *tally)
{
	size_t length = 0;
	char *xml = model_print(m, &length);
	struct hk_schedule *s = NULL;
	struct hk_report report;

	tally->mutants++;
	if (length == original_length && !memcmp(xml, original, length)) {
		tally->unchanged++;
	} else if (hk_msccl_read(xml, length, "mutant", &s)) {
		tally->unread++;
		if (strncmp(hk_last_error(), "mutant:", 7) != 0 || strlen(hk_last_error()) < 16)
			fail_msg("%s: refused without a reason: '%s'", what, hk_last_error());
	} else if (hk_schedule_prove(s, SLOTS, &report)) {
		tally->refused++;
		assert_true(strlen(report.text) > 10);
	} else {
		tally->right++;
		for (uint64_t seed = 1; seed <= 3; seed++)
			if (model_run(m, seed) != MODEL_RIGHT)
				fail_msg("%s: proved, but wrong with seed %d", what, (int)seed);
	}
	hk_schedule_free(s);
	free(xml);
}

static void mutate(const char *path, const struct kind *kind, struct tally *tally)
{
	struct model *whole = model_read(path), *m;
	int steps = count_steps(whole);
	unsigned n = per_kind < (unsigned)steps ? per_kind : (unsigned)steps;
	size_t length = 0;
	char *original = model_print(whole, &length), what[512];

	for (unsigned k = 0; k < n; k++) {
		int number = (int)((uint64_t)k * (uint64_t)steps / n);

		m = model_copy(whole);
		snprintf(what, sizeof(what), "%s: %s, step number %d, variant %u", path, kind->name,
			 number, k);
		if (kind->change(m, find_spot(m, number), k))
			judge(m, original, length, what, tally);
		model_free(m);
	}
	free(original);
	model_free(whole);
}

static void test_mutants(void **state)
{
	struct tally all = {0};

	for (unsigned k = 0; k < NKINDS; k++) {
		struct tally tally = {0};

		for (unsigned i = 0; i < npaths; i++)
			mutate(paths[i], &kinds[k], &tally);
		print_message("[          ] %-20s %u mutants: %u unread, %u refuted, %u right, "
			      "%u unchanged\n",
			      kinds[k].name, tally.mutants, tally.unread, tally.refused,
			      tally.right, tally.unchanged);
		all.unread += tally.unread;
		all.refused += tally.refused;
		all.right += tally.right;
	}
	assert_true(all.unread > 100 && all.refused > 20 && all.right > 40);
}

/* The interpreter itself: the published algorithms are right, and damage is seen. */
static void test_interpreter(void **state)
{
	for (unsigned i = 0; i < npaths; i++) {
		struct model *m = model_read(paths[i]);
		struct spot s;

		assert_int_equal(model_run(m, 1), MODEL_RIGHT);
		assert_int_equal(model_run(m, 2), MODEL_RIGHT);
		s = find_spot(m, count_steps(m) - 1);
		remove_step(m, s, 0);
		assert_int_not_equal(model_run(m, 1), MODEL_RIGHT);
		model_free(m);
	}
}

/* --- texts that are no such XML --- */

static char *read_text(const char *path, size_t *length)
{
	FILE *f = fopen(path, "r");
	char *text;

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	*length = (size_t)ftell(f);
	rewind(f);
	text = malloc(*length + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, *length, f), *length);
	text[*length] = 0;
	fclose(f);
	return text;
}

static void test_truncated(void **state)
{
	for (unsigned i = 0; i < npaths; i++) {
		size_t length = 0, cuts = 4 * per_kind;
		char *text = read_text(paths[i], &length);
		size_t end = (size_t)(strstr(text, "</algo>") - text);

		for (size_t k = 0; k <= cuts; k++) {
			size_t n = end * k / cuts;
			struct hk_schedule *s = NULL;
			char *copy = malloc(n + 1);

			assert_non_null(copy);
			memcpy(copy, text, n);
			assert_int_equal(hk_msccl_read(copy, n, "cut", &s), -EINVAL);
			assert_memory_equal(hk_last_error(), "cut:", 4);
			free(copy);
		}
		free(text);
	}
}

/* A small algorithm with `from`, where it first occurs, replaced by `to`; what is said of it. */
static const char *said_of(const char *from, const char *to, bool *proved)
{
	static const char whole[] =
		"<algo name=\"a b\" proto=\"LL\" nchannels=\"2\" nchunksperloop=\"2\" ngpus=\"2\"\n"
		" coll=\"allgather\" inplace=\"0\">\n"
		"<gpu id=\"0\" i_chunks=\"1\" o_chunks=\"2\" s_chunks=\"0\">\n"
		"<tb id=\"0\" send=\"1\" recv=\"1\" chan=\"0\">\n"
		"<step s=\"0\" type=\"s\" srcbuf=\"i\" srcoff=\"0\" dstbuf=\"o\" dstoff=\"0\" "
		"cnt=\"1\" depid=\"-1\" deps=\"-1\" hasdep=\"0\"/>\n"
		"<step s=\"1\" type=\"r\" srcbuf=\"i\" srcoff=\"0\" dstbuf=\"o\" dstoff=\"1\" "
		"cnt=\"1\" depid=\"-1\" deps=\"-1\" hasdep=\"1\"/>\n"
		"</tb>\n"
		"<tb id=\"7\" send=\"-1\" recv=\"-1\" chan=\"0\">\n"
		"<step s=\"0\" type=\"nop\" srcbuf=\"i\" srcoff=\"-1\" dstbuf=\"o\" dstoff=\"-1\" "
		"cnt=\"0\" depid=\"0\" deps=\"1\" hasdep=\"0\"/>\n"
		"<step s=\"1\" type=\"cpy\" srcbuf=\"i\" srcoff=\"0\" dstbuf=\"o\" dstoff=\"0\" "
		"cnt=\"1\" depid=\"-1\" deps=\"-1\" hasdep=\"0\"/>\n"
		"</tb></gpu>\n"
		"<gpu id=\"1\" i_chunks=\"1\" o_chunks=\"2\" s_chunks=\"0\">\n"
		"<tb id=\"0\" send=\"0\" recv=\"0\" chan=\"0\">\n"
		"<step s=\"0\" type=\"s\" srcbuf=\"i\" srcoff=\"0\" cnt=\"1\" depid=\"-1\" "
		"deps=\"-1\"/>\n"
		"<step s=\"1\" type=\"r\" dstbuf=\"o\" dstoff=\"0\" cnt=\"1\" depid=\"-1\" "
		"deps=\"-1\"/>\n"
		"<step s=\"2\" type=\"cpy\" srcbuf=\"i\" srcoff=\"0\" dstbuf=\"o\" dstoff=\"1\" "
		"cnt=\"1\" depid=\"-1\" deps=\"-1\"/>\n"
		"</tb></gpu></algo>\n";
	static char text[4096], answer[512];
	struct hk_schedule *s = NULL;
	struct hk_report report;
	const char *at = strstr(whole, from);

	if (!at)
		fail_msg("the example does not say '%s'", from);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
	*proved = false;
	if (hk_msccl_read(text, strlen(text), "f", &s)) {
		snprintf(answer, sizeof(answer), "%s", hk_last_error());
	} else if (hk_schedule_prove(s, 2, &report)) {
		snprintf(answer, sizeof(answer), "%s", report.text);
	} else {
		*proved = true;
		snprintf(answer, sizeof(answer), "%s", s->name);
	}
	hk_schedule_free(s);
	return answer;
}

static void test_complaints(void **state)
{
	static const char *const wrong[][3] = {
		{"<algo", "<algorithm", "f:1: <algorithm> stands where only <algo> can"},
		{"<algo", "<!DOCTYPE a [<!ENTITY b \"c\">]><algo", "f:1: an algorithm has no"},
		{"<algo", "algo", "f:1: this is not XML: "},
		{"<algo ", "<algo name=\"x\" ", "f:1: this is not XML: duplicate attribute"},
		{"<algo name=\"a b\"", "<algo", "f:1: <algo> has no name"},
		{"ngpus=\"2\"", "ngpus=\"0\"", "f:1: ngpus=\"0\" of <algo> is not a number"},
		{"ngpus=\"2\"", "ngpus=\"2147483648\"", "f:1: ngpus=\"2147483648\" of <algo> is"},
		{"ngpus=\"2\"", "ngpus=\"99999999999999999999\"", "f:1: ngpus="},
		{"ngpus=\"2\"", "ngpus=\"3\"", "f:1: nchunksperloop=\"2\" is not a multiple"},
		{"ngpus=\"2\"", "ngpus=\"1\"", "f:4: send=\"1\" of <tb> is not a number from"},
		{"ngpus=\"2\"", "ngpus=\"two\"", "f:1: ngpus=\"two\" of <algo> is not"},
		{"ngpus=\"2\"", "ngpus=\"2 \"", "f:1: ngpus=\"2 \" of <algo> is not"},
		{"perloop=\"2\"", "perloop=\"2147483648\"", "f:1: nchunksperloop="},
		{"allgather", "custom", "f:1: coll=\"custom\" is no collective that could"},
		{"allgather", "allreduce",
		 "f:16: writes chunk 0 of a block to o[1], where chunk 1"},
		{"inplace=\"0\"", "inplace=\"0\" outofplace=\"0\"",
		 "f:1: the algorithm is neither"},
		{"inplace=\"0\"", "inplace=\"0\" minBytes=\"9\" maxBytes=\"8\"", "f:1: maxBytes"},
		{"gpu id=\"1\"", "gpu id=\"0\"", "f:12: gpu 0 is there a second time"},
		{"gpu id=\"0\"", "gpu id=\"2\"", "f:3: id=\"2\" of <gpu>"},
		{"o_chunks=\"2\"", "o_chunks=\"3\"", "f:3: gpu 0 has 1 and 3 chunks"},
		{"s_chunks=\"0\"", "s_chunks=\"2147483648\"", "f:3: s_chunks="},
		{"s_chunks=\"0\"", "s_chunks=\"4194304\"", "f: buffers of 4194310 chunks"},
		{"tb id=\"7\"", "tb id=\"0\"", "f:8: gpu 0 has a second threadblock 0"},
		{"tb id=\"7\" send=\"-1\"", "tb id=\"7\" send=\"0\"",
		 "f:8: threadblock 7 of gpu 0"},
		{"chan=\"0\"", "chan=\"2\"", "f:4: chan=\"2\" of <tb> is not a number from 0"},
		{"chan=\"0\"", "chan=\"1\"", "f:13: threadblock 0 of gpu 1 receives from gpu 0"},
		{"step s=\"1\"", "step s=\"2\"", "f:6: step 2 stands where step 1 should"},
		{"type=\"s\"", "type=\"t\"", "f:5: type=\"t\" is no type of step"},
		{"type=\"s\"", "type=\"rcs\"", "f:6: gpu 0 receives from gpu 1 on channel 0 what"},
		{"type=\"cpy\"", "type=\"s\"", "f:10: a step sends in a threadblock with send"},
		{"type=\"cpy\"", "type=\"rrc\"", "f:10: a step receives in a threadblock with"},
		{"srcbuf=\"i\"", "srcbuf=\"io\"", "f:5: srcbuf=\"io\" is not i, o or s"},
		{"srcbuf=\"i\"", "srcbuf=\"o\"", "f:5: reads o[0], where nothing has been"},
		{"srcbuf=\"i\"", "srcbuf=\"s\"", "f:5: chunks 0 to 0 of s are past its 0"},
		{"srcoff=\"0\"", "srcoff=\"1\"", "f:5: chunks 1 to 1 of i are past its 1 chunks"},
		{"srcoff=\"0\"", "srcoff=\"-1\"", "f:5: srcoff=\"-1\" of <step> is not"},
		{"cnt=\"1\"", "cnt=\"0\"", "f:5: cnt=\"0\" of <step> is not a number from 1 to"},
		{"cnt=\"1\"", "cnt=\"2147483648\"", "f:5: cnt="},
		{"depid=\"0\" deps=\"1\"", "depid=\"0\" deps=\"2\"", "f:9: waits for step 2 of"},
		{"depid=\"0\" deps=\"1\"", "depid=\"1\" deps=\"0\"", "f:9: waits for step 0 of"},
		{"depid=\"0\" deps=\"1\"", "depid=\"0\" deps=\"-1\"", "f:9: depid=\"0\" and deps="},
		{"depid=\"0\" deps=\"1\"", "depid=\"7\" deps=\"0\"", "f:9: deadlock: this step"},
		{"depid=\"-1\" deps=\"-1\" hasdep=\"1\"", "depid=\"7\" deps=\"0\"",
		 "f:9: deadlock"},
		{"</tb>\n<tb", "<tb", "f:7: <tb> stands where only <step> can"},
		{"</tb></gpu>\n", "</gpu></tb>\n", "f:11: this is not XML: mismatched tag"},
		{"</gpu></algo>", "</gpu></algo><algo/>", "f:17: this is not XML: junk after"},
	};
	bool proved;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *answer = said_of(wrong[i][0], wrong[i][1], &proved);

		if (proved || strncmp(answer, wrong[i][2], strlen(wrong[i][2])) != 0)
			fail_msg("'%s' for '%s' does not begin with '%s'", answer, wrong[i][1],
				 wrong[i][2]);
	}
}

/* What may be missing, and what is not looked at. */
static void test_dialects(void **state)
{
	static const char *const fine[][2] = {
		{"a b", "a b"},
		{"inplace=\"0\"", "inplace=\"0\" outofplace=\"1\" minBytes=\"1\" maxBytes=\"0\""},
		{"inplace=\"0\"", "inplace=\"0\" redop=\"sum\""},
		{"hasdep=\"1\"", "hasdep=\"0\""},
		{"srcoff=\"-1\"", "srcoff=\"what\""},
		{"<gpu", "<!-- a comment --><gpu"},
		{"<algo", "<?xml version=\"1.0\"?><algo"},
	};
	bool proved;

	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		const char *answer = said_of(fine[i][0], fine[i][1], &proved);

		if (!proved)
			fail_msg("%s: %s", fine[i][1], answer);
		assert_string_equal(answer, "a_b");
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_files(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;

	while (d && (e = readdir(d)) && npaths < MOST_FILES)
		if (strstr(e->d_name, ".xml") &&
		    asprintf(&paths[npaths], "%s/%s", folder, e->d_name) > 0)
			npaths++;
	if (d)
		closedir(d);
	qsort(paths, npaths, sizeof(*paths), by_name);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published),   cmocka_unit_test(test_as_text),
		cmocka_unit_test(test_interpreter), cmocka_unit_test(test_mutants),
		cmocka_unit_test(test_truncated),   cmocka_unit_test(test_complaints),
		cmocka_unit_test(test_dialects),
	};
	int failed;

	if (argc < 2)
		return 2;
	folder = argv[1];
	if (argc > 2)
		per_kind = (unsigned)atoi(argv[2]);
	list_files();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	while (npaths)
		free(paths[--npaths]);
	return failed;
}
