/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order in which parallel aggregated trees keep their blocks. Number i of rank r is the block
 * of the rank i places down. In the round of distance d = ... 4, 2, 1 a rank has the numbers that
 * 2d divides and gets those that are d more, as long as these are below n: so at most the greatest
 * number is not sent. If what comes is put behind what is there while that is sent, and before it
 * once it is not, the greatest number is always the last, and what is sent is one range of places,
 * and so is what comes.
 */
#ifndef HK_ALGOS_PAT_H
#define HK_ALGOS_PAT_H

#include <stdint.h>

struct hk_pat_round {
	uint32_t from, to, count; /* sends places [from, from + count), gets [to, to + count) */
};

struct hk_pat {
	uint32_t rounds;
	struct hk_pat_round round[32]; /* of distance 2^k: number k */
	uint32_t *number;	       /* [n]: of the block in each place */
	uint32_t own;		       /* the place of number 0 */
};

/* -ENOMEM, with a sentence. */
int hk_pat_create(uint32_t n, struct hk_pat *pat);
void hk_pat_free(struct hk_pat *pat);

#endif
