/* SPDX-License-Identifier: BSD-3-Clause */
#include "topo.h"
int hk_topo_draw(const struct hk_graph *g, FILE *out)
{
	return 0;
}
