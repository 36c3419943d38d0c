/* SPDX-License-Identifier: BSD-3-Clause */
/* main() of every NAME_perf: HOCKET_PERF is the name, given by meson.build. */
#include "perf.h"

int main(int argc, char **argv)
{
	return hk_perf_main(argc, argv, hk_perf_find(HOCKET_PERF));
}
