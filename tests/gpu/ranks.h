/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranks that are threads of the test program, each with a communicator, two CUDA streams, and
 * memory of all kinds that is there before the first call: while kernels wait for other ranks,
 * nothing may be allocated or freed. And every collective as a record: what a rank reads, and what
 * it must get.
 */
#ifndef TESTS_GPU_RANKS_H
#define TESTS_GPU_RANKS_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda_test.h"

enum where { DEVICE, PINNED, PAGEABLE, NWHERE };
enum { REGION = 3 << 20, MARGIN = 64, MOST_RANKS = 8 };

/* Memory for a buffer, with a margin on both sides that nobody may write. */
struct region {
	uint8_t *at[NWHERE]; /* on the GPU: not for the host */
};

struct rank {
	int rank, n, device; /* HOCKET_DEVICE_NONE: of the host */
	hocketUniqueId id;
	hocketConfig_t config;
	hocketComm_t comm, second; /* the second: NULL, or made by the body */
	CUstream streams[2];
	struct region in, out;
	uint8_t *scratch; /* of the host, REGION bytes and margins */
	unsigned calls;	  /* the same on all ranks; the data depends on it */
	void (*body)(struct rank *r);
};

/* Runs body in n threads, rank i with GPU i modulo how many there are. config: NULL is the default
 * one; its device is not looked at, but if `devices` is not NULL, that has each rank's. */
void ranks_run(int n, const hocketConfig_t *config, const int *devices,
	       void (*body)(struct rank *r));
hocketConfig_t ranks_config(void);
/* The same around communicators that exist: streams and memory of one rank. */
void rank_open(struct rank *r);
void rank_close(struct rank *r);

/* Copies that are over when they return. */
void rank_put(void *to, enum where where, const void *from, size_t bytes);
void rank_get(void *to, const void *from, enum where where, size_t bytes);

/* Element i that a rank contributes to a call: any bits. */
uint64_t element_of(int rank, unsigned call, size_t i);

struct use {
	size_t count;
	hocketDataType_t type;	    /* an integer */
	enum where in, out;	    /* of in place: out */
	unsigned skew_in, skew_out; /* bytes past what is aligned; elements may be anywhere */
	bool in_place;
};

struct collective {
	const char *name;
	/* Elements that the rank reads and gets, and what it gets as element i. */
	size_t (*reads)(const struct rank *r, size_t count);
	size_t (*gets)(const struct rank *r, size_t count);
	uint64_t (*want)(const struct rank *r, size_t count, size_t i);
	hocketResult_t (*call)(struct rank *r, const void *in, void *out, size_t count,
			       hocketDataType_t type, hocketStream_t stream);
	/* Where IN begins in OUT (or OUT in IN, if that is longer), in elements; NULL: not in
	 * place. */
	size_t (*shift)(const struct rank *r, size_t count);
};
extern const struct collective collectives[];
extern const unsigned ncollectives;

/* One collective from its inputs to its checked outputs, on streams[0]. What was read is
 * overwritten on the stream right behind the call. */
void run_collective(struct rank *r, const struct collective *c, const struct use *u);
/* In steps: fills; queues; checks. In a group or a capture the second is the one to repeat. */
void fill_buffers(struct rank *r, const struct collective *c, const struct use *u);
hocketResult_t queue_collective(struct rank *r, const struct collective *c, const struct use *u,
				CUstream stream);
void check_buffers(struct rank *r, const struct collective *c, const struct use *u);

#endif
