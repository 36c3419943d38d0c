/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The columns and the two closing lines are nccl-tests', so that scripts that read its output read
 * this one. The JSON file is written as the rows come and closed at the end.
 */
#include "perf_report.h"

#include <errno.h>
#include <string.h>

#include "element.h"

static const char *const averages[] = {"rank 0", "mean", "min", "max"};

static void print_header(const struct hk_perf_options *o, const struct hk_launch *l,
			 const char *version, const char *name)
{
	int nranks = l->nprocs * o->threads;

	printf("# Hocket %s, %s: %d rank%s = %d process%s (%s) x %d thread%s\n", version, name,
	       nranks, nranks == 1 ? "" : "s", l->nprocs, l->nprocs == 1 ? "" : "es",
	       hocketLaunchName(l->handle), o->threads, o->threads == 1 ? "" : "s");
	if (nranks == 1)
		printf("# 1 rank: nothing is communicated; use hocket run -n N, or -t N\n");
	printf("# minBytes %zu maxBytes %zu step: ", o->min_bytes, o->max_bytes);
	if (o->step_bytes)
		printf("%zu(bytes)", o->step_bytes);
	else
		printf("%g(factor)", o->step_factor);
	printf(" warmup iters: %d iters: ", o->warmup);
	if (o->iters)
		printf("%d", o->iters);
	else
		printf("by time");
	printf(" agg iters: %d validation: %d blocking: %d registered: %d time: %s\n#\n",
	       o->agg_iters, o->check, o->blocking, o->registered, averages[o->average]);
	printf("# %10s  %12s  %8s  %6s  %6s           out-of-place                       in-place"
	       "\n",
	       "", "", "", "", "");
	printf("# %10s  %12s  %8s  %6s  %6s  %7s  %6s  %6s %6s  %7s  %6s  %6s %6s  %s\n", "size",
	       "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong", "time",
	       "algbw", "busbw", "#wrong", "algo");
	printf("# %10s  %12s  %8s  %6s  %6s  %7s  %6s  %6s %6s  %7s  %6s  %6s %6s\n", "(B)",
	       "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)", "(GB/s)",
	       "");
	fflush(stdout);
}

int hk_perf_report_open(struct hk_perf_report *report, const struct hk_perf_collective *coll,
			const struct hk_perf_options *o, const struct hk_launch *l)
{
	char version[32];
	int code = 0;

	*report = (struct hk_perf_report){.options = o};
	hocketGetVersion(&code);
	snprintf(version, sizeof(version), "%d.%d.%d", code / 10000, code / 100 % 100, code % 100);
	if (o->json) {
		report->json = fopen(o->json, "w");
		if (!report->json) {
			fprintf(stderr, "cannot write %s: %s\n", o->json, strerror(errno));
			return -1;
		}
		fprintf(report->json,
			"{\"hocket\": \"%s\", \"collective\": \"%s\", \"ranks\": %d, "
			"\"processes\": %d, \"threads\": %d, \"launcher\": \"%s\", "
			"\"blocking\": %d, \"registered\": %d, \"agg_iters\": %d, "
			"\"time\": \"%s over ranks\",\n \"results\": [",
			version, coll->name, l->nprocs * o->threads, l->nprocs, o->threads,
			hocketLaunchName(l->handle), o->blocking, o->registered, o->agg_iters,
			averages[o->average]);
	}
	print_header(o, l, version, coll->name);
	return 0;
}

static void print_time(double us)
{
	if (us >= 1e7)
		printf("  %7.0fk", us / 1e3);
	else if (us >= 1e5)
		printf("  %7.0f", us);
	else if (us >= 1e3)
		printf("  %7.1f", us);
	else
		printf("  %7.2f", us);
}

static void print_place(const struct hk_perf_place *p, int checked)
{
	print_time(p->us);
	printf("  %6.2f  %6.2f", p->algbw, p->busbw);
	if (checked)
		printf(" %6zu", p->wrong);
	else
		printf(" %6s", "N/A");
}

static void write_place(FILE *f, const char *name, const struct hk_perf_place *p, int checked)
{
	fprintf(f,
		", \"%s\": {\"time_us\": %.4f, \"algbw\": %.4f, \"busbw\": %.4f, \"wrong\": ", name,
		p->us, p->algbw, p->busbw);
	if (checked)
		fprintf(f, "%zu}", p->wrong);
	else
		fprintf(f, "null}");
}

void hk_perf_report_row(struct hk_perf_report *report, const struct hk_perf_row *row)
{
	const char *op = row->op < 0 ? "none" : hk_bench_op_names[row->op];
	const char *type = hk_elements[row->type].name;
	int checked = report->options->check;

	printf("%12zu  %12zu  %8s  %6s  %6d", row->bytes, row->count, type, op, row->root);
	print_place(&row->out_of_place, checked);
	if (row->no_in_place)
		printf("  %7s  %6s  %6s %6s", "N/A", "N/A", "N/A", "N/A");
	else
		print_place(&row->in_place, checked);
	if (row->channels > 1)
		printf("  %s x%d\n", row->algo, row->channels);
	else
		printf("  %s\n", row->algo);
	fflush(stdout);
	if (report->json) {
		fprintf(report->json,
			"%s\n  {\"size\": %zu, \"count\": %zu, \"type\": \"%s\", \"op\": \"%s\", "
			"\"root\": %d, \"iters\": %d, \"algo\": \"%s\", \"channels\": %d",
			report->rows ? "," : "", row->bytes, row->count, type, op, row->root,
			row->iters, row->algo, row->channels);
		write_place(report->json, "out_of_place", &row->out_of_place, checked);
		if (row->no_in_place)
			fprintf(report->json, ", \"in_place\": null");
		else
			write_place(report->json, "in_place", &row->in_place, checked);
		fprintf(report->json, "}");
	}
	report->rows++;
	report->wrong += row->out_of_place.wrong + row->in_place.wrong;
	/* Where there is one form only, it counts for both. */
	report->busbw_sum += row->out_of_place.busbw +
			     (row->no_in_place ? row->out_of_place : row->in_place).busbw;
}

void hk_perf_report_skipped(size_t bytes, int type)
{
	printf("# %zu B left out: too small to give every rank an element (%s, %zu B)\n", bytes,
	       hk_elements[type].name, hk_elements[type].size);
	fflush(stdout);
}

int hk_perf_report_close(struct hk_perf_report *report, size_t memory)
{
	double mean = report->rows ? report->busbw_sum / (2 * (double)report->rows) : 0;
	int failed = 0;

	if (report->options->check)
		printf("# Out of bounds values : %zu %s\n", report->wrong,
		       report->wrong ? "FAILED" : "OK");
	else
		printf("# Out of bounds values : not checked\n");
	printf("# Avg bus bandwidth    : %g\n", mean);
	printf("# Memory per communicator : %.2f MiB at most\n", (double)memory / 1048576);
	fflush(stdout);
	if (report->json) {
		fprintf(report->json,
			"\n ],\n \"out_of_bounds\": %zu, \"avg_busbw\": %.4f, \"memory_bytes\": "
			"%zu}\n",
			report->wrong, mean, memory);
		failed = ferror(report->json);
		failed |= fclose(report->json);
		if (failed)
			fprintf(stderr, "could not write all of %s\n", report->options->json);
	}
	return failed ? -1 : 0;
}
