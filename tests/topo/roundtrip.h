/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold for every graph that a reader accepted. The tests and the fuzzers share it. */
#ifndef HK_TEST_TOPO_ROUNDTRIP_H
#define HK_TEST_TOPO_ROUNDTRIP_H

#include "graph.h"

/* NULL, or the promise that is broken: printed and read again it is equal; ranks can be placed in
 * it, and what follows from their places is sound. */
const char *check_graph(const struct hk_graph *g);

#endif
