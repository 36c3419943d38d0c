/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What two cores of this machine can do for each other, which bounds everything that the shared
 * memory transport does: how long one cache line takes, and how fast both can pass blocks to each
 * other at once, each filling a slot with a way of copying and reading the other's. Run it several
 * times: on a virtual machine the two cores may be anywhere.
 *
 *     meson test -C build --benchmark exchange --verbose
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "kernels.h"

#define MOST	   ((size_t)1 << 20)
#define PINGS	   100000
#define TOTAL	   ((size_t)64 << 20) /* bytes per measurement */
#define MOST_TURNS 20000

/* One side's half of the shared memory. */
struct side {
	_Alignas(128) _Atomic uint64_t ball;
	_Alignas(128) _Atomic uint64_t full; /* slots filled */
	_Alignas(128) _Atomic uint64_t read; /* of the other's slots */
	_Alignas(4096) uint8_t slot[MOST];
};

typedef void copy_fn(void *dst, const void *src, size_t bytes);

static void libc_copy(void *dst, const void *src, size_t bytes)
{
	memcpy(dst, src, bytes);
}

static void await(_Atomic uint64_t *word, uint64_t value)
{
	while (atomic_load_explicit(word, memory_order_acquire) < value)
		;
}

static void bind_to(int which)
{
	cpu_set_t allowed, one;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || which-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* ns that one line takes from one core to the other. */
static double ping(struct side *mine, struct side *theirs, bool first)
{
	int64_t start = hk_now_ns();

	for (uint64_t i = 1; i <= PINGS; i++) {
		if (!first)
			await(&theirs->ball, i);
		atomic_store_explicit(&mine->ball, i, memory_order_release);
		if (first)
			await(&theirs->ball, i);
	}
	return (double)(hk_now_ns() - start) / PINGS / 2;
}

/* GB/s that each side passes to the other while it takes as much. */
static double exchange(struct side *mine, struct side *theirs, copy_fn *fill, size_t bytes,
		       uint8_t *from, uint8_t *to, uint64_t *turn)
{
	size_t turns = TOTAL / bytes < MOST_TURNS ? TOTAL / bytes : MOST_TURNS;
	int64_t start = hk_now_ns();

	for (size_t i = 0; i < turns; i++) {
		++*turn;
		fill(mine->slot, from, bytes);
		atomic_store_explicit(&mine->full, *turn, memory_order_release);
		await(&theirs->full, *turn);
		if (fill == libc_copy)
			libc_copy(to, theirs->slot, bytes);
		else
			hk_kernels()->copy(to, theirs->slot, bytes);
		atomic_store_explicit(&mine->read, *turn, memory_order_release);
		await(&theirs->read, *turn);
	}
	return (double)bytes * (double)turns / (double)(hk_now_ns() - start);
}

/* GB/s at which this core copies memory that no cache holds, while the other does so too. */
static double stream(copy_fn *copy, uint8_t *from, uint8_t *to)
{
	int64_t start = hk_now_ns();

	for (int i = 0; i < 4; i++)
		copy(to, from, TOTAL);
	return 4.0 * (double)TOTAL / (double)(hk_now_ns() - start);
}

static void run_streams(struct side *mine, struct side *theirs, bool first, uint64_t turn)
{
	uint8_t *from = aligned_alloc(4096, TOTAL), *to = aligned_alloc(4096, TOTAL);
	double k, nt;

	if (!from || !to)
		exit(1);
	memset(from, 1, TOTAL);
	memset(to, 1, TOTAL);
	atomic_store_explicit(&mine->full, turn + 1, memory_order_release);
	await(&theirs->full, turn + 1);
	k = stream(hk_kernels()->copy, from, to);
	nt = stream(hk_kernels()->copy_nt, from, to);
	if (first)
		printf("memory, both cores copying: cached %.2f, bypass %.2f GB/s each\n", k, nt);
	free(from);
	free(to);
}

static void run(struct side *sides, bool first)
{
	struct side *mine = &sides[!first], *theirs = &sides[first];
	uint8_t *from = aligned_alloc(4096, MOST), *to = aligned_alloc(4096, MOST);
	uint64_t turn = 0;
	double ns;

	if (!from || !to)
		exit(1);
	memset(from, 1, MOST);
	memset(to, 1, MOST);
	bind_to(!first);
	ns = ping(mine, theirs, first);
	if (first)
		printf("one cache line, one way: %.0f ns\n%9s %12s %12s %12s   GB/s each way\n", ns,
		       "bytes", "memcpy", "cached", "bypass");
	for (size_t bytes = 1024; bytes <= MOST; bytes *= 4) {
		double c = exchange(mine, theirs, libc_copy, bytes, from, to, &turn);
		double k = exchange(mine, theirs, hk_kernels()->copy, bytes, from, to, &turn);
		double nt = exchange(mine, theirs, hk_kernels()->copy_nt, bytes, from, to, &turn);

		if (first)
			printf("%9zu %12.2f %12.2f %12.2f\n", bytes, c, k, nt);
	}
	run_streams(mine, theirs, first, turn);
	free(from);
	free(to);
}

int main(void)
{
	struct side *sides = mmap(NULL, 2 * sizeof(*sides), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	if (sides == MAP_FAILED)
		return 1;
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		printf("one processor: nothing to measure\n");
		return 0;
	}
	child = fork();
	if (child < 0)
		return 1;
	run(sides, child != 0);
	if (child)
		waitpid(child, NULL, 0);
	return 0;
}
