/* SPDX-License-Identifier: BSD-3-Clause */
/* A row for each way at each size, in the table and in the JSON file alike. */
#include "report.h"

#include <errno.h>
#include <string.h>

static void print_header(const struct hk_lp_options *o, const struct hk_launch *l,
			 const char *version)
{
	printf("# Hocket %s, link_perf: 2 ranks (%s)\n", version, hocketLaunchName(l->handle));
	printf("# rounds: %d, warm-up messages: %d, messages per block: ", o->rounds, o->warmup);
	if (o->iters)
		printf("%d", o->iters);
	else
		printf("by time, %d ms", o->block_ms);
	printf(", calls per group: %d, registered: %d, check: %d\n", o->group, o->registered,
	       o->check);
	printf("# Latency is half a round trip; MB/s are of 10^6 bytes, of both ways together "
	       "where "
	       "they are both.\n"
	       "# x raw is the median over rounds: of latencies (1 is as good as raw, more is "
	       "slower),\n"
	       "# of bandwidths (1 is as good as raw, less is slower).\n");
	fflush(stdout);
}

int hk_lp_report_open(struct hk_lp_report *r, const struct hk_lp_options *o,
		      const struct hk_launch *l)
{
	char version[32];
	int code = 0;

	*r = (struct hk_lp_report){.options = o};
	hocketGetVersion(&code);
	snprintf(version, sizeof(version), "%d.%d.%d", code / 10000, code / 100 % 100, code % 100);
	if (o->json) {
		r->json = fopen(o->json, "w");
		if (!r->json) {
			fprintf(stderr, "cannot write %s: %s\n", o->json, strerror(errno));
			return -1;
		}
		fprintf(r->json,
			"{\"hocket\": \"%s\", \"benchmark\": \"link_perf\", \"launcher\": \"%s\", "
			"\"rounds\": %d, \"group\": %d, \"registered\": %d,\n \"results\": [",
			version, hocketLaunchName(l->handle), o->rounds, o->group, o->registered);
	}
	print_header(o, l, version);
	return 0;
}

void hk_lp_report_transport(struct hk_lp_report *r, const char *transport, const char *path)
{
	printf("#\n# %s%s%s%s\n", transport, *path ? " (raw: " : "", path, *path ? ")" : "");
	printf("# %8s  %-10s  %9s %9s %9s %9s %9s %6s  %10s %10s %6s  %10s %6s\n", "size", "way",
	       "min", "p50", "p90", "p99", "max", "x raw", "one way", "messages", "x raw",
	       "both ways", "x raw");
	printf("# %8s  %-10s  %9s %9s %9s %9s %9s %6s  %10s %10s %6s  %10s %6s\n", "(B)", "",
	       "(us)", "(us)", "(us)", "(us)", "(us)", "", "(MB/s)", "(1/s)", "", "(MB/s)", "");
	fflush(stdout);
}

static const char *level_name(enum hk_lp_level level)
{
	static const char *const names[] = {
		[HK_LP_RAW] = "raw",
		[HK_LP_BESIDE] = "raw",
		[HK_LP_TRANSPORT] = "transport",
		[HK_LP_API] = "api",
	};

	return names[level];
}

static void write_row(struct hk_lp_report *r, const char *transport, const char *path,
		      const struct hk_lp_way *way, size_t bytes, const struct hk_lp_figures *f)
{
	const struct hk_lp_spread *s = &f->latency;

	fprintf(r->json,
		"%s\n  {\"transport\": \"%s\", \"path\": \"%s\", \"way\": \"%s\", "
		"\"level\": \"%s\", \"limit\": %s, \"size\": %zu,\n"
		"   \"latency_us\": {\"min\": %.4f, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, "
		"\"max\": %.4f, \"x_raw\": %.4f},\n",
		r->rows ? "," : "", transport, path, way->name, level_name(way->level),
		way->level == HK_LP_RAW ? "true" : "false", bytes, s->min, s->p50, s->p90, s->p99,
		s->max, f->latency_ratio);
	fprintf(r->json,
		"   \"one_way\": {\"MB_s\": %.4f, \"messages_s\": %.2f, \"x_raw\": %.4f},\n"
		"   \"both_ways\": {\"MB_s\": %.4f, \"messages_s\": %.2f, \"x_raw\": %.4f}}",
		f->one_way * (double)bytes * 1e-6, f->one_way, f->one_way_ratio,
		f->both_ways * (double)bytes * 1e-6, f->both_ways, f->both_ways_ratio);
}

void hk_lp_report_row(struct hk_lp_report *r, const char *transport, const char *path,
		      const struct hk_lp_way *way, size_t bytes, const struct hk_lp_figures *f)
{
	const struct hk_lp_spread *s = &f->latency;

	printf("%10zu  %-10s  %9.2f %9.2f %9.2f %9.2f %9.2f %6.2f  %10.2f %10.0f %6.2f  %10.2f "
	       "%6.2f\n",
	       bytes, way->name, s->min, s->p50, s->p90, s->p99, s->max, f->latency_ratio,
	       f->one_way * (double)bytes * 1e-6, f->one_way, f->one_way_ratio,
	       f->both_ways * (double)bytes * 1e-6, f->both_ways_ratio);
	fflush(stdout);
	if (r->json)
		write_row(r, transport, path, way, bytes, f);
	r->rows++;
}

int hk_lp_report_close(struct hk_lp_report *r, unsigned wrong)
{
	int failed = 0;

	if (r->options->check)
		printf("# Messages that differed: %u %s\n", wrong, wrong ? "FAILED" : "OK");
	fflush(stdout);
	if (!r->json)
		return 0;
	fprintf(r->json, "\n ],\n \"wrong\": %u}\n", wrong);
	failed = ferror(r->json);
	failed |= fclose(r->json);
	if (failed)
		fprintf(stderr, "could not write all of %s\n", r->options->json);
	return failed ? -1 : 0;
}
