/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket explain`: which algorithm would be chosen for a collective, and why. It asks what a
 * communicator asks (src/tune), so what it says is what runs, as long as the communicator's ranks
 * lie as the flags say and all hosts are like this one.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "command.h"
#include "error.h"
#include "explain_scene.h"
#include "param.h"

struct explain_options {
	enum hk_coll coll;
	struct scene_request scene;
	double bytes; /* negative: a table over sizes */
	double from, to;
	int root;
	unsigned channels;
	bool help;
};

static const char *const part_names[HK_NPRICE_PARTS] = {
	[HK_PRICE_LATENCY] = "waiting for messages",
	[HK_PRICE_MESSAGE] = "handling messages",
	[HK_PRICE_COPY] = "copying",
	[HK_PRICE_REDUCE] = "reducing",
	[HK_PRICE_SWITCH] = "switching ranks",
};

/* --- arguments --- */

/* As hk_coll_name has it, or without underscores, in any case. */
static int find_coll(const char *name, enum hk_coll *coll)
{
	for (unsigned i = 0; i < HK_NCOLLS; i++) {
		const char *a = name, *b = hk_coll_name((enum hk_coll)i);

		if (i == HK_POINT_TO_POINT)
			continue;
		while (*a && *b) {
			while (*a == '_' || *a == '-')
				a++;
			b += *b == '_';
			if (strncasecmp(a, b, 1) != 0)
				break;
			a++;
			b++;
		}
		if (!*a && !*b) {
			*coll = (enum hk_coll)i;
			return 0;
		}
	}
	return -1;
}

/* "64M"; ends at `*end`. */
static int parse_size(const char *text, char **end, double *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	double n = (double)strtoull(text, end, 10);

	if (*end == text || *text == '-')
		return -1;
	unit = **end ? strchr(units, **end) : NULL;
	if (unit) {
		n = ldexp(n, 10 * (int)(unit - units + 1));
		++*end;
	}
	*bytes = n;
	return n <= ldexp(1, 50) ? 0 : -1;
}

static const char *parse_flag(int flag, char **argv, struct explain_options *o)
{
	char *end = optarg;

	switch (flag) {
	case 'n':
		o->scene.nranks = (int)strtol(optarg, &end, 10);
		return *end || o->scene.nranks < 1 || o->scene.nranks > 65536
			       ? "--ranks must be from 1 to 65536"
			       : NULL;
	case 'b':
		return parse_size(optarg, &end, &o->bytes) || *end
			       ? "--bytes takes a size such as 8, 64K or 1M"
			       : NULL;
	case 's':
		o->bytes = -1;
		if (!optarg)
			return NULL;
		return parse_size(optarg, &end, &o->from) || *end != '-' ||
				       parse_size(end + 1, &end, &o->to) || *end || o->from < 1 ||
				       o->to < o->from
			       ? "--sizes takes a range such as 8-64M"
			       : NULL;
	case 'r':
		o->root = (int)strtol(optarg, &end, 10);
		return *end || o->root < 0 ? "--root takes a rank" : NULL;
	case 'c':
		o->channels = (unsigned)strtoul(optarg, &end, 10);
		return *end || o->channels > 16 ? "--channels must be from 0 (chosen) to 16" : NULL;
	case 'p':
		o->scene.cores = strtod(optarg, &end);
		return *end || !(o->scene.cores > 0) ? "--cores takes a number" : NULL;
	case 'H':
		o->scene.hosts = optarg;
		return NULL;
	case 'f':
		o->scene.file = optarg;
		return NULL;
	case 'h':
		o->help = true;
		return NULL;
	default:
		return hk_command_flag_problem(flag, argv);
	}
}

/* NULL, or what is wrong with the arguments. */
static const char *parse(int argc, char **argv, struct explain_options *o)
{
	static const struct option flags[] = {
		{"ranks", required_argument, NULL, 'n'},    {"bytes", required_argument, NULL, 'b'},
		{"sizes", optional_argument, NULL, 's'},    {"root", required_argument, NULL, 'r'},
		{"hosts", required_argument, NULL, 'H'},    {"file", required_argument, NULL, 'f'},
		{"channels", required_argument, NULL, 'c'}, {"cores", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},	    {NULL, 0, NULL, 0}};
	const char *problem = NULL;
	int flag;

	opterr = 0;
	while (!problem && (flag = getopt_long(argc, argv, ":n:b:h", flags, NULL)) != -1)
		problem = parse_flag(flag, argv, o);
	if (problem || o->help)
		return problem;
	if (optind + 1 != argc)
		return optind == argc ? "which collective?" : "one collective at a time";
	if (find_coll(argv[optind], &o->coll))
		return "there is no such collective; `hocket schedule` lists them";
	if (o->scene.hosts && o->scene.file)
		return "--hosts and --file both say where the ranks are: give one";
	if (!o->scene.nranks && !o->scene.hosts && !o->scene.file)
		return "--ranks is missing: how many?";
	return NULL;
}

/* --- printing --- */

static const char *size_text(double bytes, char text[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned u = 0;

	while (bytes >= 1024 && u < 4 && fmod(bytes, 1024) == 0) {
		bytes /= 1024;
		u++;
	}
	snprintf(text, 32, "%.0f %s", bytes, units[u]);
	return text;
}

static enum hk_price_part main_part(const struct hk_price *p)
{
	unsigned most = 0;

	for (unsigned i = 1; i < HK_NPRICE_PARTS; i++)
		if (p->parts[i] > p->parts[most])
			most = i;
	return (enum hk_price_part)most;
}

static void print_candidate(const struct hk_candidate *c)
{
	printf("%c %12.2f  %-32s %4u  %7u %9u %9.3f  ", c->chosen ? '*' : ' ', c->price.ns / 1e3,
	       c->algo->name, c->channels, c->work.rounds, c->work.messages, c->work.sent);
	for (unsigned i = 0; i < HK_NPRICE_PARTS; i++)
		printf(" %6.0f", c->price.ns > 0 ? 100 * c->price.parts[i] / c->price.ns : 0);
	printf("\n");
}

static const struct hk_candidate *find_chosen(const struct hk_candidate *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].chosen)
			return &list[i];
	return &list[0];
}

/* Why the chosen one, in a sentence. */
static void print_reason(const struct hk_candidate *list, unsigned n, bool forced)
{
	const struct hk_candidate *chosen = find_chosen(list, n), *other = NULL;

	if (forced) {
		printf("%s is forced by HOCKET_ALGO", chosen->algo->name);
		if (chosen != &list[0])
			printf("; by its price it would be %s", list[0].algo->name);
		printf(".\n");
		return;
	}
	for (unsigned i = 0; i < n && !other; i++)
		if (&list[i] != chosen)
			other = &list[i];
	printf("%s spends most of its time %s", chosen->algo->name,
	       part_names[main_part(&chosen->price)]);
	if (other && isfinite(other->price.ns))
		printf("; %s, the next, would take %.2f times as long, most of it %s",
		       other->algo->name, other->price.ns / chosen->price.ns,
		       part_names[main_part(&other->price)]);
	printf(".\n");
}

static void print_scene(const struct explain_options *o, const struct scene *s)
{
	printf("%s on %d rank%s", hk_coll_name(o->coll), s->nranks, s->nranks == 1 ? "" : "s");
	if (hk_coll_rooted(o->coll))
		printf(", root %d", o->root);
	if (s->layout && s->layout->nlevels)
		printf(", in groups of %u level%s", s->layout->nlevels,
		       s->layout->nlevels == 1 ? "" : "s");
	printf("; %.3g rank%s to a core\n%s\n", s->machine.ranks_per_core,
	       s->machine.ranks_per_core > 1 ? "s" : "", s->about);
	if (s->nranks > HK_TUNE_PRICED_RANKS)
		printf("priced: the first %d ranks; what the others add, by formula\n",
		       HK_TUNE_PRICED_RANKS);
}

static int explain_size(const struct explain_options *o, const struct scene *s,
			const struct hk_problem *p, const char *forced)
{
	struct hk_candidate *list = NULL;
	struct hk_choice choice = {0};
	char text[32];
	unsigned n = 0;
	int err = hk_tune_select(&s->machine, p, (size_t)o->bytes, forced, &choice);

	if (!err)
		err = hk_tune_rank(&s->machine, p, (size_t)o->bytes, forced, &list, &n);
	if (err)
		return err;
	printf("\nblocks of %s: %s, %u channel%s\n\n", size_text(o->bytes, text), choice.algo->name,
	       choice.channels, choice.channels == 1 ? "" : "s");
	printf("%14s  %-32s %4s  %7s %9s %9s   %%%5s %6s %6s %6s %6s\n", "predicted us",
	       "algorithm", "chan", "rounds", "messages", "blocks", "wait", "handle", "copy",
	       "reduce", "switch");
	for (unsigned i = 0; i < n; i++)
		print_candidate(&list[i]);
	printf("\n");
	print_reason(list, n, choice.forced);
	free(list);
	return 0;
}

static int explain_sizes(const struct explain_options *o, const struct scene *s,
			 const struct hk_problem *p, const char *forced)
{
	char text[32];
	int err = 0;

	printf("\n%10s %14s  %-32s %4s  %-22s %s\n", "block", "predicted us", "algorithm", "chan",
	       "most of it", "the next, times as long");
	for (double bytes = o->from; bytes <= o->to && !err; bytes *= 2) {
		struct hk_candidate *list = NULL;
		const struct hk_candidate *c, *next;
		unsigned n = 0;

		err = hk_tune_rank(&s->machine, p, (size_t)bytes, forced, &list, &n);
		if (err)
			break;
		c = find_chosen(list, n);
		next = n < 2 ? NULL : c == &list[0] ? &list[1] : &list[0];
		printf("%10s %14.2f  %-32s %4u  %-22s", size_text(bytes, text), c->price.ns / 1e3,
		       c->algo->name, c->channels, part_names[main_part(&c->price)]);
		if (next)
			printf(" %s %.2f", next->algo->name, next->price.ns / c->price.ns);
		printf("\n");
		free(list);
	}
	if (forced && !err)
		printf("\nHOCKET_ALGO=%s forces what it names wherever that fits.\n", forced);
	return err;
}

static int explain_main(int argc, char **argv)
{
	struct explain_options o = {.bytes = 1 << 20, .from = 8, .to = 64 << 20};
	const char *problem = parse(argc, argv, &o), *forced = hk_param_str(HK_PARAM_ALGO);
	struct hk_problem p;
	struct scene s;
	int err;

	if (o.help)
		return hk_command_explain(&hk_command_explain_choice);
	if (problem)
		return hk_command_complain(&hk_command_explain_choice, problem, "");
	err = forced ? hk_tune_check_names(forced) : 0;
	if (!err)
		err = hk_scene_make(&o.scene, &s);
	if (err)
		goto failed;
	if (o.root >= s.nranks) {
		hk_scene_free(&s);
		return hk_command_complain(&hk_command_explain_choice,
					   "--root must be less than the number of ranks", "");
	}
	p = (struct hk_problem){.coll = o.coll,
				.nranks = s.nranks,
				.root = o.root,
				.channels = o.channels ? o.channels
						       : (uint32_t)hk_param(HK_PARAM_CHANNELS),
				.layout = s.layout};
	print_scene(&o, &s);
	err = o.bytes < 0 ? explain_sizes(&o, &s, &p, forced) : explain_size(&o, &s, &p, forced);
	hk_scene_free(&s);
	if (!err)
		return 0;
failed:
	fprintf(stderr, "hocket explain: %s\n", hk_last_error());
	return 1;
}

const struct hk_command hk_command_explain_choice = {
	.name = "explain",
	.usage = "COLLECTIVE --ranks N [--bytes B | --sizes[=FROM-TO]] [--root R] [--hosts HxR | "
		 "--file TOPOLOGY]",
	.summary = "says which algorithm would be chosen, and why",
	.details =
		"Prints the predicted time of every algorithm for the collective, the cheapest\n"
		"first: its rounds, the messages and the blocks that the busiest rank sends, and "
		"in\n"
		"percent where the time goes. The one that would run is marked.\n"
		"\n"
		"  -n N, --ranks N     number of ranks\n"
		"  -b B, --bytes B     bytes of a block: the call's count times the size of an\n"
		"                      element; suffixes K, M, G (default 1M)\n"
		"  --sizes[=FROM-TO]   a table over sizes instead (default 8-64M)\n"
		"  --root R            of a rooted collective (default 0)\n"
		"  --hosts HxR         H hosts of R ranks, or the ranks of each host: 4,4,3\n"
		"  --file TOPOLOGY     ranks placed in a cluster as `hocket topo --file` reads it\n"
		"  --cores C           processors of a host (default: this one's)\n"
		"  --channels C        channels, 0: chosen (default)\n"
		"\n"
		"Communicators choose by the same prices, for the next power of two of the size. "
		"A\n"
		"price is that of a call that mostly follows another: docs/tuning.md.\n",
	.main = explain_main,
};
