/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket schedule`: the workbench. Lists, shows, proves, runs and draws schedules, the algorithms'
 * own and those of files. Everything is done by the library's own layers: the algorithm emits or a
 * reader reads, fusion fuses, the checker proves, the executor runs; so what is shown is what runs.
 *
 * One file a verb: schedule_source.c (list, and where schedules come from), schedule_run.c,
 * schedule_export.c; show and check are here.
 */
#include "schedule.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "algos.h"
#include "command.h"
#include "error.h"

#define MOST_SWITCHES 64
#define MOST_RANKS    1024
#define MOST_SLOTS    64

int hk_workbench_judge(const struct hk_schedule *s, unsigned slots, FILE *out,
		       struct hk_report *report)
{
	bool both = s->inplace && s->outofplace;
	int rc = hk_schedule_prove(s, slots, report);

	if (rc) {
		fprintf(out, "refuted: %s: %s\n", s->name,
			rc == -HK_EPROOF ? report->text : hk_last_error());
		return 1;
	}
	fprintf(out,
		"proved: %s on %d rank%s%s; %" PRIu64 " step%s, %" PRIu64
		" message%s, %u slot%s per "
		"connection%s\n",
		s->name, s->problem.nranks, hk_plural((unsigned)s->problem.nranks),
		both	     ? " in place and not"
		: s->inplace ? " in place"
			     : "",
		report->steps, hk_plural(report->steps), report->messages,
		hk_plural(report->messages), report->slots, hk_plural(report->slots),
		report->bits_differ ? "; ranks add up in different orders" : "");
	return 0;
}

static int show(const struct hk_schedule *s, const struct schedule_options *o)
{
	for (int i = 0; i < s->n; i++)
		if (o->rank < 0 || o->rank == i)
			hk_program_dump(s->programs[i], stdout);
	return 0;
}

static int check(const struct hk_schedule *s, const struct schedule_options *o)
{
	struct hk_report report;

	return hk_workbench_judge(s, o->slots, stdout, &report);
}

static int show_and_check(const struct hk_schedule *s, const struct schedule_options *o)
{
	show(s, o);
	return check(s, o);
}

enum { MANY = 1, NEEDS_NAME = 2 };

/* The flags that a verb takes besides those that say what the schedule is. */
static const struct verb {
	const char *name, *flags;
	unsigned takes;
	int (*one)(const struct hk_schedule *s, const struct schedule_options *o);
} verbs[] = {
	{"list", "", MANY, NULL},
	{"show", "r", NEEDS_NAME, show},
	{"check", "s", MANY | NEEDS_NAME, check},
	{"run", "sbkt", MANY | NEEDS_NAME, hk_workbench_run},
	{"export", "sbfo", NEEDS_NAME, hk_workbench_export},
	/* without a verb */
	{"", "rs", 0, show_and_check},
};

#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct option flags[] = {{"channels", required_argument, NULL, 'c'},
				      {"rank", required_argument, NULL, 'r'},
				      {"in-place", no_argument, NULL, 'i'},
				      {"unfused", no_argument, NULL, 'u'},
				      {"help", no_argument, NULL, 'h'},
				      {"root", required_argument, NULL, 'R'},
				      {"varied", no_argument, NULL, 'v'},
				      {"slots", required_argument, NULL, 's'},
				      {"bytes", required_argument, NULL, 'b'},
				      {"count", required_argument, NULL, 'k'},
				      {"format", required_argument, NULL, 'f'},
				      {"output", required_argument, NULL, 'o'},
				      {"trace", required_argument, NULL, 't'},
				      {"switches", required_argument, NULL, 'w'},
				      {NULL, 0, NULL, 0}};

/* A whole number with a K, M or G after it, perhaps; 0 if it is not one. */
static uint64_t bytes_of(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);
	const char *units = "KMG", *unit = *end ? strchr(units, *end) : NULL;

	if (end == text || *text == '-' || (*end && (!unit || end[1])) || n > 1ull << 40)
		return 0;
	return unit ? n << 10 * (unit - units + 1) : n;
}

/* What is wrong with a flag's value, or NULL. */
static const char *set(int flag, struct schedule_options *o)
{
	if (flag == 'n')
		o->n = atoi(optarg);
	else if (flag == 'c')
		o->channels = (unsigned)atoi(optarg);
	else if (flag == 'r')
		o->rank = atoi(optarg);
	else if (flag == 'R')
		o->root = atoi(optarg);
	else if (flag == 'i')
		o->inplace = true;
	else if (flag == 'v')
		o->varied = true;
	else if (flag == 'u')
		o->unfused = true;
	else if (flag == 's')
		o->slots = (unsigned)atoi(optarg);
	else if (flag == 'b' && !(o->bytes = bytes_of(optarg)))
		return "--bytes is a number, such as 4096 or 64K";
	else if (flag == 'k' && !(o->count = bytes_of(optarg)))
		return "--count is a number of elements, such as 1000 or 64K";
	else if (flag == 'f')
		o->format = optarg;
	else if (flag == 'o')
		o->output = optarg;
	else if (flag == 't')
		o->trace = optarg;
	else if (flag == 'w')
		o->switches = atoi(optarg);
	o->of_algorithm |= strchr("ncRvuw", flag) != NULL;
	return NULL;
}

static const char *check_values(const struct schedule_options *o)
{
	static const char *const formats[] = {"text", "dot", "goal", "trace"};

	if (o->n < 1 || o->n > MOST_RANKS)
		return "-n must be from 1 to 1024";
	if (o->channels < 1 || o->channels > 16)
		return "--channels must be from 1 to 16";
	if (o->root < 0 || o->root >= o->n)
		return "--root must be less than -n";
	if (o->rank >= o->n && !(o->nnames && hk_workbench_is_file(o->names[0])))
		return "--rank must be less than -n";
	if (o->switches < 1 || o->switches > MOST_SWITCHES || o->switches - 1 > o->n)
		return "--switches must be from 1 to 64, and not be more than -n and the top";
	if (o->slots < 1 || o->slots > 1 << 20)
		return "--slots must be from 1 to 1048576";
	for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(o->format, formats[i]))
			return NULL;
	return "--format is one of text, dot, goal and trace";
}

/* NULL, or what is wrong with the arguments. *verb follows from the first word. */
static const char *parse(int argc, char **argv, struct schedule_options *o,
			 const struct verb **verb)
{
	char given[32] = "";
	const char *wrong;
	int flag;

	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":n:ho:", flags, NULL)) != -1) {
		if (flag == '?' || flag == ':')
			return hk_command_flag_problem(flag, argv);
		wrong = set(flag, o);
		if (wrong)
			return wrong;
		o->help |= flag == 'h';
		if (!strchr("ncRvuihw", flag) && strlen(given) < sizeof(given) - 1)
			given[strlen(given)] = (char)flag;
	}
	o->names = argv + optind;
	o->nnames = argc - optind;
	*verb = &verbs[NVERBS - 1];
	for (unsigned i = 0; o->nnames && i < NVERBS - 1; i++)
		if (!strcmp(o->names[0], verbs[i].name))
			*verb = &verbs[i];
	if (*(*verb)->name) {
		o->names++;
		o->nnames--;
	}
	if (o->help)
		return NULL;
	if (strspn(given, (*verb)->flags) < strlen(given))
		return "there is a flag that this does not take";
	return check_values(o);
}

struct each {
	const struct verb *verb;
	const struct schedule_options *o;
	int status;
};

static void on_file(void *arg, const char *path, struct hk_schedule *s)
{
	struct each *each = arg;
	int status = 1;

	if (!s)
		fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
	else
		status = hk_workbench_narrow(s, path, each->o);
	if (!status)
		status = each->verb->one(s, each->o);
	each->status = status > each->status ? status : each->status;
	hk_schedule_free(s);
	fflush(stdout);
}

static int do_folder(const struct verb *verb, const char *path, const struct schedule_options *o)
{
	struct each each = {verb, o, 0};

	if (!hk_schedule_load_all(path, on_file, &each))
		return each.status;
	fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
	return 1;
}

static int do_one(const struct verb *verb, const char *name, const struct schedule_options *o)
{
	int status;
	struct hk_schedule *s;

	if (verb->takes & MANY && hk_workbench_is_folder(name))
		return do_folder(verb, name, o);
	s = hk_workbench_get(name, o, &status);
	if (s)
		status = verb->one(s, o);
	hk_schedule_free(s);
	return status;
}

static int schedule_main(int argc, char **argv)
{
	struct schedule_options o = {.n = 4,
				     .rank = -1,
				     .switches = 1,
				     .channels = 1,
				     .slots = MOST_SLOTS,
				     .format = "text"};
	const struct verb *verb = NULL;
	const char *problem = parse(argc, argv, &o, &verb);
	int status = 0;

	if (problem)
		return hk_command_complain(&hk_command_schedule, problem, "");
	if (o.help)
		return hk_command_explain(&hk_command_schedule);
	if (!verb->one || (!o.nnames && !(verb->takes & NEEDS_NAME)))
		return hk_workbench_list(&o);
	if (!o.nnames)
		return hk_command_complain(&hk_command_schedule,
					   "an algorithm or a file is missing after", verb->name);
	if (o.nnames > 1 && !(verb->takes & MANY))
		return hk_command_complain(&hk_command_schedule,
					   "one algorithm at a time, not also", o.names[1]);
	for (int i = 0; i < o.nnames; i++) {
		int one = do_one(verb, o.names[i], &o);

		fflush(stdout);
		status = one > status ? one : status;
	}
	return status;
}

const struct hk_command hk_command_schedule = {
	.name = "schedule",
	.usage = "[list | show | check | run | export] [ALGORITHM | FILE ...] [FLAGS]",
	.summary = "lists, shows, proves, runs and draws schedules",
	.details =
		"\n"
		"A schedule is one of the library's algorithms, by its name, or a file: our own "
		"text\n"
		"format, or an MSCCL algorithm in XML.\n"
		"\n"
		"  list [FILE | FOLDER ...]   the algorithms, or what is in files\n"
		"  show NAME                  each rank's program, a line a step; --rank R: one\n"
		"  check NAME | FOLDER ...    proves it: result, progress, no race; or says which\n"
		"                             rank, step and chunk is wrong; --slots S: at most\n"
		"  run NAME | FOLDER ...      runs it on local ranks and looks at every element;\n"
		"                             --count N: elements of a block; --trace FILE: "
		"records\n"
		"                             a timeline (of --bytes B in all)\n"
		"  export NAME                --format text, dot (Graphviz), goal (LogGOPSim) or\n"
		"                             trace (a predicted timeline, for ui.perfetto.dev);\n"
		"                             --bytes B in all; --output FILE\n"
		"  NAME                       show and check\n"
		"\n"
		"For an algorithm: -n RANKS (4), --root R, --channels C, --varied (blocks of "
		"differing\n"
		"sizes), --unfused (what it emits, before steps are fused), --switches S (1; "
		"where\n"
		"switches take part: a star, or a tree of two levels). For all: --in-place.\n"
		"B may end in K, M or G.\n",
	.main = schedule_main,
};
