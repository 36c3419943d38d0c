/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer's way into the reader of the text format. Built with clang and -Dfuzz=true. */
#include <stdio.h>
#include <stdlib.h>

#include "roundtrip.h"
#include "text.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	setenv("HOCKET_DEBUG", "0", 1); /* refusing is no news */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hk_graph *g = NULL;
	const char *broken;

	if (hk_text_read((const char *)data, size, "fuzz", NULL, &g))
		return 0;
	/* A range makes a huge graph of few bytes; such are read, but not worth the rest's time. */
	broken = g->nvertices + g->nlinks > 2000 ? NULL : check_graph(g);
	hk_graph_free(g);
	if (broken) {
		fprintf(stderr, "%s\n", broken);
		abort();
	}
	return 0;
}
