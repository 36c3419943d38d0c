/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where `hocket schedule` has its schedules from: an algorithm of the table, built for the problem
 * that the options tell, or a file. Also their list.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "algos.h"
#include "command.h"
#include "error.h"
#include "layout.h"
#include "schedule.h"

const char *hk_plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

bool hk_workbench_is_file(const char *name)
{
	struct stat st;

	return !hk_algo_find(name) && (strpbrk(name, "/.") || !stat(name, &st));
}

static int build_all(const struct hk_algo *algo, const struct hk_problem *p, bool fuse,
		     struct hk_schedule *s)
{
	int n = hk_algo_participants(algo, p);

	s->programs = calloc((size_t)n, sizeof(*s->programs));
	if (!s->programs)
		return -ENOMEM;
	for (s->n = 0; s->n < n; s->n++) {
		int err = hk_algo_program(algo, p, s->n, fuse, &s->programs[s->n]);

		if (err) {
			fprintf(stderr, "hocket schedule: rank %d: %s\n", s->n, hk_last_error());
			return err;
		}
	}
	return 0;
}

/* A layout that has switches and nothing else; it stays, as schedules point to it. */
static const struct hk_layout *switches_for(const struct schedule_options *o)
{
	static struct hk_layout *layout;
	int *parent = calloc((size_t)(o->n + o->switches), sizeof(*parent));

	hk_layout_free(layout);
	layout = NULL;
	if (parent && !hk_layout_create(o->n, 0, NULL, &layout)) {
		hk_layout_plain_tree(o->n, o->switches, parent);
		hk_layout_set_switches(layout, o->switches, parent);
	}
	free(parent);
	return layout;
}

static struct hk_schedule *from_algorithm(const struct hk_algo *algo,
					  const struct schedule_options *o)
{
	struct hk_schedule *s = calloc(1, sizeof(*s));
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = o->n,
			       .root = o->root,
			       .channels = o->channels,
			       .inplace = o->inplace,
			       .varied = o->varied};

	if (!s)
		return NULL;
	/* Those that need switches get some. */
	if (!algo->accepts(&p))
		p.layout = switches_for(o);
	if (!algo->accepts(&p)) {
		fprintf(stderr, "hocket schedule: %s does not do %d rank%s with %u channel%s%s\n",
			algo->name, o->n, hk_plural((unsigned)o->n), o->channels,
			hk_plural(o->channels), o->varied ? " and blocks of differing sizes" : "");
		free(s);
		return NULL;
	}
	snprintf(s->name, sizeof(s->name), "%s", algo->name);
	s->problem = p;
	s->problem.inplace = false;
	s->max_bytes = UINT64_MAX;
	s->inplace = o->inplace;
	s->outofplace = !o->inplace;
	if (!build_all(algo, &p, !o->unfused, s))
		return s;
	hk_schedule_free(s);
	return NULL;
}

int hk_workbench_narrow(struct hk_schedule *s, const char *path, const struct schedule_options *o)
{
	if (o->rank >= s->n)
		return hk_command_complain(&hk_command_schedule, "there is no such --rank in",
					   path);
	if (o->inplace && !s->inplace) {
		fprintf(stderr, "hocket schedule: %s: is not for calls in place\n", path);
		return 1;
	}
	if (o->inplace)
		s->outofplace = false;
	return 0;
}

static struct hk_schedule *from_file(const char *path, const struct schedule_options *o,
				     int *status)
{
	struct hk_schedule *s = NULL;

	*status = 1;
	if (o->of_algorithm) {
		*status = hk_command_complain(
			&hk_command_schedule,
			"-n, --root, --channels, --switches, --varied and --unfused are for "
			"algorithms; a file "
			"says all that itself:",
			path);
		return NULL;
	}
	if (hk_schedule_load(path, &s)) {
		fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
		return NULL;
	}
	*status = hk_workbench_narrow(s, path, o);
	if (!*status)
		return s;
	hk_schedule_free(s);
	return NULL;
}

bool hk_workbench_is_folder(const char *name)
{
	struct stat st;

	return !hk_algo_find(name) && !stat(name, &st) && S_ISDIR(st.st_mode);
}

struct hk_schedule *hk_workbench_get(const char *name, const struct schedule_options *o,
				     int *status)
{
	const struct hk_algo *algo = hk_algo_find(name);

	*status = 1;
	if (algo)
		return from_algorithm(algo, o);
	if (hk_workbench_is_file(name))
		return from_file(name, o, status);
	*status = hk_command_complain(&hk_command_schedule, "no algorithm is called", name);
	return NULL;
}

static void put_bytes(uint64_t bytes)
{
	static const char units[] = " KMGT";
	unsigned u = 0;

	for (; bytes >= 1024 && bytes % 1024 == 0 && u < 4; u++)
		bytes /= 1024;
	printf("%" PRIu64 "%.*s", bytes, u > 0, &units[u]);
}

static void put_row(void *arg, const char *path, struct hk_schedule *s)
{
	const char *name = strrchr(path, '/');
	int *status = arg;

	if (!s) {
		fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
		*status = 1;
		return;
	}
	printf("%-26s %-32s %-15s %5d  %-12s ", name ? name + 1 : path, s->name,
	       hk_coll_name(s->problem.coll), s->problem.nranks,
	       !s->inplace     ? "out of place"
	       : s->outofplace ? "both"
			       : "in place");
	put_bytes(s->min_bytes);
	printf(" to ");
	if (s->max_bytes == UINT64_MAX)
		printf("any size");
	else
		put_bytes(s->max_bytes);
	printf("\n");
	hk_schedule_free(s);
}

static int list_files(const struct schedule_options *o)
{
	int status = 0;

	printf("%-26s %-32s %-15s %5s  %-12s %s\n", "file", "name", "collective", "ranks",
	       "in place", "bytes");
	for (int i = 0; i < o->nnames; i++) {
		struct hk_schedule *s = NULL;

		if (hk_workbench_is_folder(o->names[i])) {
			if (hk_schedule_load_all(o->names[i], put_row, &status)) {
				fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
				status = 1;
			}
			continue;
		}
		hk_schedule_load(o->names[i], &s);
		put_row(&status, o->names[i], s);
	}
	return status;
}

int hk_workbench_list(const struct schedule_options *o)
{
	if (o->nnames)
		return list_files(o);
	printf("%-30s %s\n", "algorithm", "collective");
	for (unsigned i = 0; i < hk_nalgos; i++)
		printf("%-30s %s\n", hk_algos[i]->name, hk_coll_name(hk_algos[i]->coll));
	return 0;
}
