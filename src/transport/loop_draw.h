/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop transport's random numbers: a generator for every end of every connection. */
#ifndef HK_TRANSPORT_LOOP_DRAW_H
#define HK_TRANSPORT_LOOP_DRAW_H

#include <stdint.h>

/* splitmix64: any seed is a good one. */
static inline uint64_t draw(uint64_t *random)
{
	uint64_t z = *random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline uint32_t draw_up_to(uint64_t *random, uint32_t most)
{
	return most ? (uint32_t)(draw(random) % ((uint64_t)most + 1)) : 0;
}

static inline uint64_t random_of(uint64_t seed, int src, int dst, uint32_t channel, unsigned which)
{
	const uint64_t parts[] = {(uint64_t)src, (uint64_t)dst, channel, which};

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		seed = draw(&seed) ^ parts[i];
	return draw(&seed);
}

#endif
