/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The environment variables with which a launcher places a process, for the benchmarks' help and
 * for `hocket doctor`. libhocket.so does not read them: libhocket_launch.so does.
 */
#ifndef HOCKET_LAUNCH_VARIABLES_H
#define HOCKET_LAUNCH_VARIABLES_H

#include <stdbool.h>

struct hk_launch_variable {
	const char *name, *help;
	bool secret; /* its value is not for printing */
};

static const struct hk_launch_variable hk_launch_variables[] = {
	{"HOCKET_LAUNCH",
	 "which launcher to believe: hocket, hand, torchrun, pmi, pmix, mpi, alone", false},
	{"HOCKET_RANK", "this process's number, from 0; set by hocket run, or by hand", false},
	{"HOCKET_NRANKS", "number of processes", false},
	{"HOCKET_ID", "the unique id in hexadecimal; set by hocket run", true},
	{"HOCKET_ID_FILE", "instead: a path that all see, where process 0 leaves the id", false},
	{"HOCKET_ID_ADDR", "instead: HOST:PORT where process 0 hands the id over", false},
	{"HOCKET_ID_PORT", "port of the id under torchrun; default MASTER_PORT + 1", false},
};

enum { HK_NLAUNCH_VARIABLES = sizeof(hk_launch_variables) / sizeof(hk_launch_variables[0]) };

#endif
