/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files that read the text format: words of a line, and what all statements need. */
#ifndef HK_TOPO_TEXT_INTERNAL_H
#define HK_TOPO_TEXT_INTERNAL_H

#include "graph.h"
#include "pattern.h"

#define MAX_WORDS 64

struct machine {
	struct machine *next;
	const char *name;
	struct hk_graph *graph; /* its vertex 0 is the host */
	unsigned nnics;
};

struct reader {
	const char *file, *folder;
	int line;
	struct hk_graph *graph;	  /* the cluster */
	struct machine *machines; /* the newest first */
	struct machine *open;	  /* the one whose description is being read, or NULL */
	char *words[MAX_WORDS];	  /* of this line */
	int nwords, at;		  /* at: the next word */
};

/* Refuses the line: -EINVAL with file, line and cause. */
int hk_text_refuse(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As above, with the last sentence of a function that failed, if err is not 0. */
int hk_text_check(struct reader *r, int err);
/* The next word, or NULL at the line's end. */
const char *hk_text_next(struct reader *r);
/* The word after `keyword`, which must be there. */
int hk_text_value(struct reader *r, const char *keyword, const char **value);
int hk_text_number(struct reader *r, const char *keyword, uint64_t max, uint64_t *value);
int hk_text_pattern(struct reader *r, const char *word, struct hk_pattern *p);
/* Name i of the pattern; it must be one that a vertex can have. */
int hk_text_name(struct reader *r, const struct hk_pattern *p, unsigned i,
		 char name[HK_NAME_MAX + 1]);
/* If word is a kind of link, reads it with the rate and latency that may follow. */
int hk_text_rate(struct reader *r, const char *word, struct hk_rate *rate, bool *found);

/* link A B ..., mesh A B ...: within the open machine, or in the cluster. */
int hk_text_link(struct reader *r, bool mesh);
/* A line between `machine NAME` and `end`. */
int hk_text_part(struct reader *r, const char *word);

#endif
