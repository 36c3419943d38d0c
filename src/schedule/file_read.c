/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads a whole schedule from text: first the head, one fact a line in any order, then the programs
 * of all participants in their order, in the words of text.c (read_step.c reads a step). Then the
 * checker's first phase looks at each program, so that what is out of bounds is reported with its
 * line.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "assemble.h"
#include "check.h"
#include "error.h"
#include "file.h"
#include "read_step.h"
#include "scan.h"

struct reader {
	struct hk_scan scan;
	struct hk_schedule *s;
	unsigned switches;
	uint64_t moves;	 /* chunks of all steps so far */
	unsigned seen;	 /* bits of the facts that the head has told */
	unsigned *lines; /* of the steps of the program being read */
	uint32_t max_lines;
};

static int read_name(struct reader *r)
{
	struct hk_scan *scan = &r->scan;
	size_t n;

	hk_scan_ended(scan); /* skips blanks */
	while (scan->end > scan->at && strchr(" \t\r", scan->end[-1]))
		scan->end--;
	n = (size_t)(scan->end - scan->at);
	if (!n || n >= sizeof(r->s->name))
		return hk_file_fail(scan->source, scan->line, "a name has 1 to %zu characters",
				    sizeof(r->s->name) - 1);
	for (size_t i = 0; i < n; i++)
		if (scan->at[i] <= ' ' || scan->at[i] > '~')
			return hk_file_fail(scan->source, scan->line,
					    "a name has no blanks and only ASCII characters");
	memcpy(r->s->name, scan->at, n);
	r->s->name[n] = 0;
	scan->at = scan->end;
	return 0;
}

static int read_collective(struct reader *r)
{
	for (unsigned i = 0; i < HK_NCOLLS; i++) {
		if (i == HK_POINT_TO_POINT || !hk_scan_word(&r->scan, hk_coll_name(i)))
			continue;
		r->s->problem.coll = i;
		return 0;
	}
	return hk_scan_fail(&r->scan, "a collective (all_reduce, all_gather ...)");
}

static int read_int(struct reader *r, const char *what, unsigned min, unsigned max, unsigned *value)
{
	uint64_t v = 0;
	int rc = hk_scan_number(&r->scan, what, max, &v);

	if (rc)
		return rc;
	if (v < min)
		return hk_file_fail(r->scan.source, r->scan.line, "%s is less than %u", what, min);
	*value = (unsigned)v;
	return 0;
}

static int read_ranks(struct reader *r)
{
	unsigned n = 0;
	int rc = read_int(r, "the number of ranks", 1, HK_FILE_RANKS, &n);

	r->s->problem.nranks = (int)n;
	return rc;
}

static int read_switches(struct reader *r)
{
	return read_int(r, "the number of switches", 0, HK_FILE_RANKS, &r->switches);
}

static int read_root(struct reader *r)
{
	unsigned root = 0;
	int rc = read_int(r, "the root", 0, HK_FILE_RANKS - 1, &root);

	r->s->problem.root = (int)root;
	return rc;
}

static int read_channels(struct reader *r)
{
	unsigned n = 0;
	int rc = read_int(r, "the number of channels", 1, HK_FILE_CHANNELS, &n);

	r->s->problem.channels = n;
	return rc;
}

static int read_varied(struct reader *r)
{
	r->s->problem.varied = true;
	return 0;
}

static int read_bytes(struct reader *r)
{
	struct hk_schedule *s = r->s;
	int rc = hk_scan_number(&r->scan, "the least bytes", UINT64_MAX - 1, &s->min_bytes);

	if (rc || hk_scan_word(&r->scan, "unlimited"))
		return rc;
	rc = hk_scan_number(&r->scan, "the most bytes, or 'unlimited',", UINT64_MAX - 1,
			    &s->max_bytes);
	if (!rc && s->max_bytes < s->min_bytes)
		return hk_file_fail(r->scan.source, r->scan.line,
				    "the most bytes are fewer than the least");
	return rc;
}

static int read_for(struct reader *r)
{
	do {
		if (hk_scan_word(&r->scan, "in_place"))
			r->s->inplace = true;
		else if (hk_scan_word(&r->scan, "out_of_place"))
			r->s->outofplace = true;
		else
			return hk_scan_fail(&r->scan, "'in_place' or 'out_of_place'");
	} while (!hk_scan_ended(&r->scan));
	return 0;
}

static const struct {
	const char *word;
	int (*read)(struct reader *r);
	bool needed;
} facts[] = {
	{"name", read_name, true},	{"collective", read_collective, true},
	{"ranks", read_ranks, true},	{"switches", read_switches, false},
	{"root", read_root, false},	{"channels", read_channels, false},
	{"varied", read_varied, false}, {"bytes", read_bytes, false},
	{"for", read_for, true},
};

#define NFACTS (sizeof(facts) / sizeof(facts[0]))

static int read_fact(struct reader *r)
{
	for (unsigned i = 0; i < NFACTS; i++) {
		int rc;

		if (!hk_scan_word(&r->scan, facts[i].word))
			continue;
		if (r->seen & 1u << i)
			return hk_file_fail(r->scan.source, r->scan.line,
					    "'%s' is told a second time", facts[i].word);
		r->seen |= 1u << i;
		rc = facts[i].read(r);
		return rc ? rc : hk_scan_need_end(&r->scan);
	}
	return hk_scan_fail(&r->scan, "a fact (name, collective, ranks ...) or a program");
}

/* Up to the first program's line, whose first word is skipped. */
static int read_head(struct reader *r)
{
	struct hk_scan *scan = &r->scan;
	uint64_t version = 0;
	int rc;

	if (!hk_scan_line(scan))
		return hk_file_fail(scan->source, scan->line, "there is nothing in the file");
	rc = hk_scan_need(scan, "hocket");
	rc = rc ? rc : hk_scan_need(scan, "schedule");
	rc = rc ? rc : hk_scan_number(scan, "the format's version (1)", 1, &version);
	if (!rc && !version)
		rc = hk_file_fail(scan->source, scan->line, "there is no version 0 of the format");
	rc = rc ? rc : hk_scan_need_end(scan);
	while (!rc) {
		if (!hk_scan_line(scan))
			return hk_file_fail(scan->source, scan->line, "there are no programs");
		if (hk_scan_word(scan, "program"))
			break;
		rc = read_fact(r);
	}
	for (unsigned i = 0; !rc && i < NFACTS; i++)
		if (facts[i].needed && !(r->seen & 1u << i))
			rc = hk_file_fail(scan->source, scan->line,
					  "the programs begin, but no line has told '%s'",
					  facts[i].word);
	if (!rc && r->s->problem.root >= r->s->problem.nranks)
		rc = hk_file_fail(scan->source, scan->line, "the root is no rank");
	return rc;
}

/* "rank 0: period 4, chunks in 4 out 4 scratch 0, messages of up to 2" */
static int read_program_line(struct reader *r, struct hk_program *prog)
{
	static const struct {
		const char *words[4];
		const char *what;
		uint64_t max;
	} parts[] = {
		{{"rank"}, "the participant's number", INT32_MAX},
		{{":", "period"}, "the period", HK_MAX_CHUNKS},
		{{",", "chunks", "in"}, "the chunks of in", HK_MAX_CHUNKS},
		{{"out"}, "the chunks of out", HK_MAX_CHUNKS},
		{{"scratch"}, "the chunks of scratch", HK_MAX_CHUNKS},
		{{",", "messages", "of", "up"}, NULL, 0},
		{{"to"}, "the longest message", UINT16_MAX},
	};
	uint64_t v[sizeof(parts) / sizeof(parts[0])] = {0};
	int rc = 0;

	for (unsigned i = 0; !rc && i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (unsigned k = 0; !rc && k < 4 && parts[i].words[k]; k++)
			rc = hk_scan_need(&r->scan, parts[i].words[k]);
		if (!rc && parts[i].what)
			rc = hk_scan_number(&r->scan, parts[i].what, parts[i].max, &v[i]);
	}
	if (!rc && hk_scan_sign(&r->scan, ",")) {
		rc = hk_scan_need(&r->scan, "serial");
		prog->serial = true;
	}
	rc = rc ? rc : hk_scan_need_end(&r->scan);
	if (!rc && v[0] != (uint64_t)prog->rank)
		rc = hk_file_fail(r->scan.source, r->scan.line,
				  "here the program of rank %d should begin, not of %llu",
				  prog->rank, (unsigned long long)v[0]);
	if (!rc && !v[1])
		rc = hk_file_fail(r->scan.source, r->scan.line, "the period is 0");
	prog->period = (uint32_t)v[1];
	prog->nchunks[HK_IN] = (uint32_t)v[2];
	prog->nchunks[HK_OUT] = (uint32_t)v[3];
	prog->nchunks[HK_SCRATCH] = (uint32_t)v[4];
	prog->message_chunks = (uint32_t)v[6];
	return rc;
}

static int remember_line(struct reader *r, uint32_t step)
{
	if (step == r->max_lines) {
		uint32_t max = r->max_lines ? r->max_lines * 2 : 64;
		unsigned *more = realloc(r->lines, max * sizeof(*more));

		if (!more)
			return hk_fail_quiet(ENOMEM, "no memory to read a program");
		r->lines = more;
		r->max_lines = max;
	}
	r->lines[step] = r->scan.line;
	return 0;
}

static int read_lane(struct reader *r, struct hk_assembly *a)
{
	uint64_t lane = 0, channel = 0;
	int rc = hk_scan_number(&r->scan, "the lane's number", UINT32_MAX, &lane);

	if (!rc && lane != a->prog->nlanes)
		rc = hk_file_fail(r->scan.source, r->scan.line,
				  "here lane %u should begin, not %llu", a->prog->nlanes,
				  (unsigned long long)lane);
	rc = rc ? rc : hk_scan_need(&r->scan, "channel");
	rc = rc ? rc : hk_scan_number(&r->scan, "the channel", HK_FILE_CHANNELS - 1, &channel);
	rc = rc ? rc : hk_scan_need_end(&r->scan);
	return rc ? rc : hk_assemble_lane(a, (uint32_t)channel);
}

/* The lines of one program; *more: another begins, and its first word is skipped. */
static int read_program(struct reader *r, struct hk_assembly *a, bool *more)
{
	int rc = read_program_line(r, a->prog);

	*more = false;
	while (!rc && hk_scan_line(&r->scan)) {
		if (hk_scan_word(&r->scan, "program")) {
			*more = true;
			return 0;
		}
		if (hk_scan_word(&r->scan, "lane")) {
			rc = read_lane(r, a);
			continue;
		}
		if (!a->prog->nlanes)
			return hk_scan_fail(&r->scan, "'lane' or 'program'");
		rc = remember_line(r, a->prog->nsteps);
		rc = rc ? rc : hk_read_step(&r->scan, a);
	}
	return rc;
}

/* Proving bounds takes time for each chunk that moves. */
static int add_moves(struct reader *r, const struct hk_program *prog, unsigned line)
{
	for (uint32_t i = 0; i < prog->nsteps; i++)
		r->moves += prog->steps[i].nchunks;
	return r->moves <= HK_FILE_MOVES
		       ? 0
		       : hk_file_fail(r->scan.source, line, "steps move more than %d chunks",
				      HK_FILE_MOVES);
}

static int check_program(struct reader *r, const struct hk_program *prog, unsigned line)
{
	struct hk_report report = {.participant = -1};

	if (!hk_check_bounds(&r->s->problem, prog, prog->rank, r->s->n, &report))
		return 0;
	if (report.participant >= 0)
		line = r->lines[prog->lanes[report.lane].first + report.step];
	return hk_file_fail(r->scan.source, line, "%s", report.text);
}

static int read_programs(struct reader *r)
{
	struct hk_schedule *s = r->s;
	bool more = true;
	int rc = 0;

	s->programs = calloc((size_t)s->n, sizeof(*s->programs));
	if (!s->programs)
		return hk_fail_quiet(ENOMEM, "no memory for %d programs", s->n);
	for (int i = 0; !rc && i < s->n; i++) {
		unsigned line = r->scan.line;
		struct hk_assembly a;

		if (!more)
			return hk_file_fail(r->scan.source, line,
					    "the file ends before the program of rank %d of %d", i,
					    s->n);
		rc = hk_assemble_begin(&a, i);
		if (rc)
			return rc;
		rc = read_program(r, &a, &more);
		s->programs[i] = a.prog;
		rc = rc ? rc : add_moves(r, a.prog, line);
		rc = rc ? rc : check_program(r, a.prog, line);
	}
	if (!rc && more)
		rc = hk_file_fail(r->scan.source, r->scan.line,
				  "a program more than the %d participants", s->n);
	return rc;
}

int hk_schedule_read(const char *text, size_t length, const char *source, struct hk_schedule **out)
{
	struct reader r = {.s = calloc(1, sizeof(*r.s))};
	int rc;

	if (!r.s)
		return hk_fail_quiet(ENOMEM, "no memory for a schedule");
	r.s->problem.channels = 1;
	r.s->max_bytes = UINT64_MAX;
	hk_scan_begin(&r.scan, source, text, length);
	rc = read_head(&r);
	r.s->n = r.s->problem.nranks + (int)r.switches;
	if (!rc)
		rc = read_programs(&r);
	if (!rc)
		rc = hk_file_check_limits(r.s, source);
	free(r.lines);
	if (rc)
		hk_schedule_free(r.s);
	else
		*out = r.s;
	return rc;
}
