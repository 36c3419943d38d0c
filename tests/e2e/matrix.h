/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every collective and every algorithm: awkward counts and types, in place and not, with uneven
 * blocks and without, checked against what the collective means. Algorithms are tried in rounds: in
 * each, every collective has one of its own.
 */
#ifndef TESTS_E2E_MATRIX_H
#define TESTS_E2E_MATRIX_H

#include <stdbool.h>

#include "harness.h"

#define MATRIX_ROUNDS 6 /* the most algorithms of one collective */
#define MATRIX_RANKS  16
#define MATRIX_LIST   512 /* bytes of a list of algorithms */

/* Which collectives have used the algorithm that their round is for. */
struct matrix_seen {
	bool in_use[16];
};

/* The algorithms of a round as HOCKET_ALGO has them. */
void matrix_algorithms(unsigned round, char *list, size_t bytes);
/* All collectives on comm, whose algorithms are those of the round; all ranks call it. */
void matrix_run(hocketComm_t comm, int rank, int n, unsigned round, struct matrix_seen *seen);
/* All collectives once each with count elements of 8 bytes, in place, not, and uneven. */
void matrix_run_long(hocketComm_t comm, int rank, int n, size_t count);
/* Fails the rank unless all collectives have. */
void matrix_all_seen(const struct matrix_seen *seen, unsigned round);
/* Fails the rank if the library has an algorithm that no round is for; but for those of switches,
 * which have tests of their own. */
void matrix_complete(void);

#endif
