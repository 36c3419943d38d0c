/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Speed of the CPU kernels: for every set that runs here, GB/s of result for each type and
 * operation on buffers of a given size (default 64 KiB, three of which fit most L2 caches), and the
 * nanoseconds of a call on two elements. Usage: bench_kernels [bytes]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kernels.h"

enum { REPEATS = 5, RUN_NS = 2000000 };

static char *dst, *a, *b;

/* One way to spend time on n elements or bytes. */
struct work {
	hk_reduce_fn *reduce;
	hk_scale_fn *scale;
	hk_divide_fn *divide;
	void (*copy)(void *dst, const void *src, size_t bytes);
	size_t n;
};

static void run(const struct work *w)
{
	static const uint64_t scalar;

	if (w->reduce)
		w->reduce(dst, a, b, w->n);
	else if (w->scale)
		w->scale(dst, a, w->n, &scalar);
	else if (w->divide)
		w->divide(dst, w->n, 3);
	else
		w->copy(dst, a, w->n);
}

/* Nanoseconds of one run, the best of a few measurements. */
static double time_of(struct work w)
{
	double best = 1e18;

	for (int i = 0; i < REPEATS; i++) {
		int64_t start = hk_now_ns(), end;
		int64_t runs = 0;

		do {
			for (int j = 0; j < 16; j++)
				run(&w);
			runs += 16;
			end = hk_now_ns();
		} while (end - start < RUN_NS);
		if ((double)(end - start) / (double)runs < best)
			best = (double)(end - start) / (double)runs;
	}
	return best;
}

static void bench_type(const struct hk_kernels *k, enum hk_type type, size_t bytes)
{
	size_t n = bytes / hk_type_size(type);
	double size = (double)(n * hk_type_size(type));

	printf("%-9s %-11s", k->name, hk_type_name(type));
	for (int op = 0; op < HK_NREDOPS; op++)
		printf(" %7.2f",
		       size / time_of((struct work){.reduce = k->reduce[type][op], .n = n}));
	printf(" %7.2f", size / time_of((struct work){.scale = k->scale[type], .n = n}));
	if (k->divide[type])
		printf(" %7.2f", size / time_of((struct work){.divide = k->divide[type], .n = n}));
	else
		printf(" %7s", "-");
	printf(" %7.1f\n", time_of((struct work){.reduce = k->reduce[type][HK_SUM], .n = 2}));
}

static void bench_set(const struct hk_kernels *k, size_t bytes)
{
	for (int type = 0; type < HK_NTYPES; type++)
		bench_type(k, (enum hk_type)type, bytes);
	printf("%-9s copy %.2f GB/s, copy_nt %.2f GB/s, 8 bytes %.1f ns, 64 bytes %.1f ns, "
	       "4096 bytes %.1f ns\n",
	       k->name, (double)bytes / time_of((struct work){.copy = k->copy, .n = bytes}),
	       (double)bytes / time_of((struct work){.copy = k->copy_nt, .n = bytes}),
	       time_of((struct work){.copy = k->copy, .n = 8}),
	       time_of((struct work){.copy = k->copy, .n = 64}),
	       time_of((struct work){.copy = k->copy, .n = 4096}));
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 0) : 65536;
	size_t room = (bytes + 4095) / 4096 * 4096 + 4096;

	dst = aligned_alloc(4096, room);
	a = aligned_alloc(4096, room);
	b = aligned_alloc(4096, room);
	if (!dst || !a || !b)
		return 1;
	for (size_t i = 0; i < room; i++) {
		a[i] = (char)(i * 37);
		b[i] = (char)(i * 101);
		dst[i] = 1;
	}
	printf("%-9s %-11s %7s %7s %7s %7s %7s %7s %7s\n", "GB/s", "", "sum", "prod", "max", "min",
	       "scale", "divide", "2: ns");
	for (int level = 0; level < 3; level++)
		if (hk_kernels_level(level))
			bench_set(hk_kernels_level(level), bytes);
	free(dst);
	free(a);
	free(b);
	return 0;
}
