/* SPDX-License-Identifier: BSD-3-Clause */
/* What `hocket explain` is asked about: ranks, their hosts, and what messages cost there. */
#ifndef HOCKET_TOOLS_EXPLAIN_SCENE_H
#define HOCKET_TOOLS_EXPLAIN_SCENE_H

#include <stdbool.h>

#include "tune.h"

struct scene_request {
	int nranks;	   /* 0: as many as the hosts hold */
	const char *hosts; /* "2x4" or "4,4,3", or NULL */
	const char *file;  /* a topology, or NULL */
	double cores;	   /* of each host, 0: as many as here */
};

struct scene {
	int nranks;
	struct hk_layout *layout;
	struct hk_machine machine;
	char about[512]; /* where the costs are from, as a line for people */
};

/* 0, or a negative code with its sentence. */
int hk_scene_make(const struct scene_request *request, struct scene *scene);
void hk_scene_free(struct scene *scene);

#endif
