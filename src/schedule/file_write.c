/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes a whole schedule as text: a head of one fact a line, then the programs as text.c prints
 * them. file_read.c reads it back.
 */
#include <errno.h>
#include <inttypes.h>

#include "error.h"
#include "file.h"

static void put_head(const struct hk_schedule *s, FILE *out)
{
	const struct hk_problem *p = &s->problem;

	fprintf(out, "hocket schedule 1\nname %s\ncollective %s\nranks %d\n", s->name,
		hk_coll_name(p->coll), p->nranks);
	if (s->n > p->nranks)
		fprintf(out, "switches %d\n", s->n - p->nranks);
	if (hk_coll_rooted(p->coll))
		fprintf(out, "root %d\n", p->root);
	fprintf(out, "channels %" PRIu32 "\n", p->channels);
	if (p->varied)
		fputs("varied\n", out);
	if (s->max_bytes == UINT64_MAX)
		fprintf(out, "bytes %" PRIu64 " unlimited\n", s->min_bytes);
	else
		fprintf(out, "bytes %" PRIu64 " %" PRIu64 "\n", s->min_bytes, s->max_bytes);
	fprintf(out, "for%s%s\n", s->outofplace ? " out_of_place" : "",
		s->inplace ? " in_place" : "");
}

int hk_schedule_write(const struct hk_schedule *s, FILE *out)
{
	put_head(s, out);
	for (int i = 0; i < s->n; i++) {
		int rc = hk_program_dump(s->programs[i], out);

		if (rc)
			return rc;
	}
	return ferror(out) ? hk_fail(EIO, "cannot write a schedule as text") : 0;
}
