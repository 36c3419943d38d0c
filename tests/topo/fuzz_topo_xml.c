/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer's way into the reader of recordings. Built with clang and -Dfuzz=true. */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"
#include "roundtrip.h"

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

	if (hk_machine_read_xml((const char *)data, size, "fuzz", &g))
		return 0;
	broken = check_graph(g);
	hk_graph_free(g);
	if (broken) {
		fprintf(stderr, "%s\n", broken);
		abort();
	}
	return 0;
}
