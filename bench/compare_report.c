/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of compare_mpi. A row is held against the target for its size and number of ranks:
 * an all-reduce with two ranks at least MPI's speed at 8 bytes and 1.5 times it from 16 KiB on,
 * with more ranks never slower; any other collective never more than a tenth slower; unless a
 * target for all sizes is given. A row whose median misses its target while the target lies between
 * the quartiles of the rounds is called "near": the noise does not allow a verdict.
 */
#include "compare_report.h"

#include <errno.h>
#include <math.h>
#include <mpi.h>
#include <string.h>

#include <hocket/hocket.h>

/* The ratio to reach, or 0 for none. */
static double target(const struct hk_compare_report *report, size_t bytes)
{
	int nranks = report->nranks;

	if (nranks < 2)
		return 0;
	if (report->target > 0)
		return report->target;
	if (strcmp(report->coll->name, "all_reduce"))
		return 0.9;
	if (nranks > 2)
		return 1;
	if (bytes == 8)
		return 1;
	return bytes >= 16384 && bytes <= 67108864 ? 1.5 : 0;
}

static const char *verdict(struct hk_compare_report *report, const struct hk_compare_row *row)
{
	double want = target(report, row->bytes);

	if (want <= 0)
		return "-";
	if (row->ratio >= want) {
		report->met++;
		return "ok";
	}
	if (row->ratio_q3 >= want) {
		report->near++;
		return "near";
	}
	report->missed++;
	return "MISSED";
}

static int open_file(const char *path, FILE **file)
{
	*file = path ? fopen(path, "w") : NULL;
	if (!path || *file)
		return 0;
	fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
	return -1;
}

static void write_headers(struct hk_compare_report *report, const struct hk_compare_setting *s,
			  const char *hocket, const char *mpi)
{
	if (report->json)
		fprintf(report->json,
			"{\"hocket\": \"%s\", \"mpi\": \"%s\", \"collective\": \"%s\", "
			"\"type\": \"float\", \"op\": \"sum\", \"ranks\": %d, \"rounds\": %d, "
			"\"registered\": %d,\n \"results\": [",
			hocket, mpi, s->coll->name, s->nranks, s->rounds, s->registered);
	if (report->csv)
		fprintf(report->csv,
			"collective,ranks,bytes,hocket_us,mpi_us,hocket_GBps,mpi_GBps,ratio,"
			"ratio_q1,ratio_q3,target,verdict,hocket_wrong,mpi_wrong\n");
	printf("# %s, float%s, %s: Hocket %s and %s in the same %d processes\n"
	       "# on the same%s buffers, in alternating blocks. Medians of %d rounds; a time is the"
	       " slowest\n# rank's. GB/s: size / time. x: %s's time / Hocket's, with quartiles.\n",
	       s->coll->name, s->coll->reduces ? " sum" : "",
	       strcmp(s->coll->name, "broadcast") ? "out of place" : "in place", hocket, mpi,
	       s->nranks, s->registered ? " (registered)" : "", s->rounds, report->mpi_name);
	printf("#\n# %10s  %11s  %11s  %10s  %10s  %6s  %13s  %6s  %7s\n", "size", "Hocket",
	       report->mpi_name, "Hocket", report->mpi_name, "x", "", "target", "verdict");
	printf("# %10s  %11s  %11s  %10s  %10s  %6s  %13s  %6s  %7s\n", "(B)", "(us)", "(us)",
	       "(GB/s)", "(GB/s)", "", "(quartiles)", "", "");
	fflush(stdout);
}

int hk_compare_report_open(struct hk_compare_report *report, const struct hk_compare_setting *s)
{
	char hocket[32], mpi[MPI_MAX_LIBRARY_VERSION_STRING];
	int code = 0, length;

	*report = (struct hk_compare_report){
		.nranks = s->nranks, .coll = s->coll, .target = s->target};
	hocketGetVersion(&code);
	snprintf(hocket, sizeof(hocket), "%d.%d.%d", code / 10000, code / 100 % 100, code % 100);
	MPI_Get_library_version(mpi, &length);
	mpi[strcspn(mpi, ",\"\n")] = 0;
	for (char *tab = mpi; (tab = strchr(tab, '\t'));)
		*tab = ' ';
	report->mpi_name = !strncmp(mpi, "Open MPI", 8) ? "Open MPI"
			   : !strncmp(mpi, "MPICH", 5)	? "MPICH"
							: "MPI";
	if (open_file(s->json, &report->json) || open_file(s->csv, &report->csv))
		return -1;
	write_headers(report, s, hocket, mpi);
	return 0;
}

void hk_compare_report_row(struct hk_compare_report *report, const struct hk_compare_row *row)
{
	double hocket = (double)row->bytes / row->hocket.us * 1e-3;
	double mpi = (double)row->bytes / row->mpi.us * 1e-3;
	double want = target(report, row->bytes);
	const char *mark = verdict(report, row);
	char goal[16] = "-";

	if (want > 0)
		snprintf(goal, sizeof(goal), "%.1f", want);
	printf("%12zu  %11.2f  %11.2f  %10.3f  %10.3f  %6.2f  %5.2f - %5.2f  %6s  %7s", row->bytes,
	       row->hocket.us, row->mpi.us, hocket, mpi, row->ratio, row->ratio_q1, row->ratio_q3,
	       goal, mark);
	if (row->hocket.wrong || row->mpi.wrong)
		printf("  WRONG: Hocket %zu, %s %zu", row->hocket.wrong, report->mpi_name,
		       row->mpi.wrong);
	printf("\n");
	fflush(stdout);
	if (report->json)
		fprintf(report->json,
			"%s\n  {\"size\": %zu, \"hocket_us\": %.4f, \"mpi_us\": %.4f, "
			"\"hocket_GBps\": %.4f, \"mpi_GBps\": %.4f, \"ratio\": %.4f, "
			"\"ratio_q1\": %.4f, \"ratio_q3\": %.4f, \"target\": %.1f, \"verdict\": "
			"\"%s\", \"hocket_iters\": %d, \"mpi_iters\": %d, \"hocket_wrong\": %zu, "
			"\"mpi_wrong\": %zu}",
			report->rows ? "," : "", row->bytes, row->hocket.us, row->mpi.us, hocket,
			mpi, row->ratio, row->ratio_q1, row->ratio_q3, want, mark,
			row->hocket.iters, row->mpi.iters, row->hocket.wrong, row->mpi.wrong);
	if (report->csv)
		fprintf(report->csv,
			"%s,%d,%zu,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.1f,%s,%zu,%zu\n",
			report->coll->name, report->nranks, row->bytes, row->hocket.us, row->mpi.us,
			hocket, mpi, row->ratio, row->ratio_q1, row->ratio_q3, want, mark,
			row->hocket.wrong, row->mpi.wrong);
	/* The rows so far outlive a job that is aborted at a later size. */
	if (report->csv)
		fflush(report->csv);
	report->log_ratios += log(row->ratio);
	report->rows++;
	report->wrong += row->hocket.wrong + row->mpi.wrong;
}

static int close_file(FILE *file)
{
	int failed;

	if (!file)
		return 0;
	failed = ferror(file);
	failed |= fclose(file);
	if (failed)
		fprintf(stderr, "could not write all of the results: is the disk full?\n");
	return failed ? -1 : 0;
}

int hk_compare_report_close(struct hk_compare_report *report, size_t memory)
{
	size_t held = report->met + report->near + report->missed;
	int failed;

	printf("# Memory per communicator at %d ranks: %.2f MiB at most, beyond user buffers\n",
	       report->nranks, (double)memory / 1048576);
	if (report->rows)
		printf("# Wrong elements: %zu %s\n", report->wrong,
		       report->wrong ? "FAILED" : "OK");
	if (report->rows)
		printf("# Geometric mean of x: %.2f\n",
		       exp(report->log_ratios / (double)report->rows));
	if (held)
		printf("# summary: %d ranks against %s: %zu of %zu sizes with a target met it, %zu "
		       "near, %zu missed%s\n",
		       report->nranks, report->mpi_name, report->met, held, report->near,
		       report->missed, report->wrong ? "; results were WRONG" : "");
	fflush(stdout);
	if (report->json)
		fprintf(report->json,
			"\n ],\n \"met\": %zu, \"near\": %zu, \"missed\": %zu, \"wrong\": %zu, "
			"\"memory_bytes\": %zu}\n",
			report->met, report->near, report->missed, report->wrong, memory);
	failed = close_file(report->json);
	return close_file(report->csv) || failed ? -1 : 0;
}
