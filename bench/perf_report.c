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

static void print_device(const struct hk_perf_report *report)
{
	const struct hk_perf_options *o = report->options;

	printf("# GPUs of the ranks in turn:");
	for (int i = 0; i < o->ndevices; i++)
		printf(" %d", o->devices[i]);
	if (!o->ndevices)
		printf(" %d for rank 0, by HOCKET_DEVICE", report->device);
	printf("; %s; results are checked on the host\n",
	       o->graph ? "replays of a captured graph" : "calls on a stream each");
}

static void print_header(const struct hk_perf_report *report, const struct hk_launch *l,
			 const char *version, const char *name)
{
	const struct hk_perf_options *o = report->options;
	int nranks = l->nprocs * o->threads;
	bool gpu = report->device >= 0;

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
	printf(" agg iters: %d validation: %d blocking: %d registered: %d time: %s\n", o->agg_iters,
	       o->check, report->blocking, o->registered, averages[o->average]);
	if (gpu)
		print_device(report);
	printf("#\n");
	printf("# %10s  %12s  %8s  %6s  %6s           out-of-place                       in-place"
	       "%s\n",
	       "", "", "", "", "", gpu ? "                        copy, fraction" : "");
	printf("# %10s  %12s  %8s  %6s  %6s  %7s  %6s  %6s %6s  %7s  %6s  %6s %6s%s  %s\n", "size",
	       "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong", "time",
	       "algbw", "busbw", "#wrong", gpu ? "   rd+wr    oop     ip" : "", "algo");
	printf("# %10s  %12s  %8s  %6s  %6s  %7s  %6s  %6s %6s  %7s  %6s  %6s %6s%s\n", "(B)",
	       "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)", "(GB/s)",
	       "", gpu ? "  (GB/s)" : "");
	fflush(stdout);
}

int hk_perf_report_open(struct hk_perf_report *report, const struct hk_perf_collective *coll,
			const struct hk_perf_options *o, const struct hk_launch *l)
{
	char version[32];
	int code = 0;

	report->options = o;
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
			"\"device\": %d, \"graph\": %d, \"time\": \"%s over ranks\",\n "
			"\"results\": [",
			version, coll->name, l->nprocs * o->threads, l->nprocs, o->threads,
			hocketLaunchName(l->handle), report->blocking, o->registered, o->agg_iters,
			report->device, o->graph, averages[o->average]);
	}
	print_header(report, l, version, coll->name);
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

/* Of what a copy reaches, as far as the call's least traffic is known. */
static double fraction(const struct hk_perf_row *row, const struct hk_perf_place *p)
{
	bool known = p == &row->out_of_place || (row->moves_all_in_place && !row->no_in_place);

	if (!known || !(p->us > 0) || !(row->copy_gbs > 0))
		return -1;
	return row->moved / p->us * 1e-3 / row->copy_gbs;
}

static void print_fraction(double f)
{
	if (f < 0)
		printf(" %6s", "N/A");
	else
		printf(" %6.3f", f);
}

static void print_limit(const struct hk_perf_row *row)
{
	printf("  %7.1f", row->copy_gbs);
	print_fraction(fraction(row, &row->out_of_place));
	print_fraction(fraction(row, &row->in_place));
}

static void write_limit(FILE *f, const struct hk_perf_row *row)
{
	double of[2] = {fraction(row, &row->out_of_place), fraction(row, &row->in_place)};
	const char *names[2] = {"of_copy", "of_copy_in_place"};

	fprintf(f, ", \"copy_gbs\": %.4f, \"must_move\": %.0f", row->copy_gbs, row->moved);
	for (int i = 0; i < 2; i++)
		if (of[i] < 0)
			fprintf(f, ", \"%s\": null", names[i]);
		else
			fprintf(f, ", \"%s\": %.5f", names[i], of[i]);
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
	if (report->device >= 0)
		print_limit(row);
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
		if (report->device >= 0)
			write_limit(report->json, row);
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

int hk_perf_report_close(struct hk_perf_report *report, size_t memory, size_t device_memory)
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
	if (report->device >= 0)
		printf("# GPU memory per communicator : %.2f MiB at most\n",
		       (double)device_memory / 1048576);
	fflush(stdout);
	if (report->json) {
		fprintf(report->json,
			"\n ],\n \"out_of_bounds\": %zu, \"avg_busbw\": %.4f, \"memory_bytes\": "
			"%zu, \"device_memory_bytes\": %zu}\n",
			report->wrong, mean, memory, device_memory);
		failed = ferror(report->json);
		failed |= fclose(report->json);
		if (failed)
			fprintf(stderr, "could not write all of %s\n", report->options->json);
	}
	return failed ? -1 : 0;
}
