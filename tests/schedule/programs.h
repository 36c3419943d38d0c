/* SPDX-License-Identifier: BSD-3-Clause */
/* All participants' programs of one problem, for the tests of the schedule. */
#ifndef HK_TEST_PROGRAMS_H
#define HK_TEST_PROGRAMS_H

#include "algos.h"
#include "layout.h"

#define MAX_PARTS    1024
#define MAX_SWITCHES 3 /* of those ranks' places: MAX_PARTS is for all */

struct world {
	struct hk_problem p;
	int n;
	struct hk_program *programs[MAX_PARTS];
	struct hk_layout layout; /* in use where the algorithm needs switches */
	int parent[MAX_PARTS];
};

/* Builds all participants' programs with an algorithm. One that does not do without switches gets a
 * tree of three. 0 or a negative code. */
int world_build(struct world *w, const struct hk_algo *algo, int nranks, uint32_t channels,
		bool inplace, bool fuse);
/* The same for any problem of the algorithm's: a root, blocks of differing sizes, a layout. */
int world_build_problem(struct world *w, const struct hk_algo *algo, const struct hk_problem *p,
			bool fuse);
int world_clone(const struct world *w, struct world *copy);
void world_free(struct world *w);
int world_check(const struct world *w, unsigned max_slots, struct hk_report *report);

/* Whether the collective has a form in which blocks differ in size. */
bool has_v_variant(enum hk_coll coll);
/* What a call of world_layout may ask for: nodes of 1, 3 and 2 ranks in turn; three nodes whose
 * ranks are dealt out like cards; nodes of 2 and 3 ranks in racks of three nodes. */
enum { LAYOUT_NONE, LAYOUT_UNEVEN, LAYOUT_DEALT, LAYOUT_RACKS, NLAYOUTS };
/* To be freed with hk_layout_free; NULL for LAYOUT_NONE. */
struct hk_layout *world_layout(unsigned kind, int nranks);

/* The program as text, in a buffer that the next call reuses. */
const char *program_text(const struct hk_program *prog);

/* A small deterministic generator (xorshift64*). */
uint64_t next_random(uint64_t *state);

#endif
