/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The text format for clusters, described in docs/topology.md. What hk_text_print writes,
 * hk_text_read reads as an equal graph.
 */
#ifndef HK_TOPO_TEXT_H
#define HK_TOPO_TEXT_H

#include <stdio.h>

#include "graph.h"

/* Longest file that is read, and longest line. */
#define HK_TEXT_MAX	 (16 << 20)
#define HK_TEXT_LINE_MAX 4096

/*
 * Reads text (size bytes). name: of the file, for messages. folder: where the recordings that it
 * refers to lie ("" the current one), or NULL: it may not refer to any. -EINVAL with a sentence
 * that names line and cause.
 */
int hk_text_read(const char *text, size_t size, const char *name, const char *folder,
		 struct hk_graph **graph);
int hk_text_load(const char *path, struct hk_graph **graph);
int hk_text_print(const struct hk_graph *g, FILE *out);
/* Reads a file of at most max bytes; a 0 follows what was read. For the readers of files. */
int hk_text_slurp(const char *path, size_t max, char **text, size_t *size);

#endif
