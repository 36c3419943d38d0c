/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second opinion on MSCCL algorithms, for the tests of the importer, and independent of it: a
 * model of a file that is easy to damage and to print, and a slow interpreter that runs it on
 * numbers, threadblocks taking turns at random, by the words of MSCCL's format alone.
 */
#ifndef HK_TEST_MSCCL_MODEL_H
#define HK_TEST_MSCCL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_step {
	char type[8];
	char src_buf, dst_buf;
	int src, dst, count, dep_tb, dep_step, has_dep;
};

struct model_tb {
	int id, send, recv, channel;
	int nsteps;
	struct model_step *steps;
};

struct model_gpu {
	int id, i_chunks, o_chunks, s_chunks;
	int ntbs;
	struct model_tb *tbs;
};

struct model {
	char head[512]; /* the attributes of <algo>, but for the next five */
	char coll[32];
	int nchunks, ngpus, inplace, outofplace;
	struct model_gpu *gpus;
};

/* Reads a well-formed file that has an element a line; NULL if it is not like that. */
struct model *model_read(const char *path);
struct model *model_copy(const struct model *m);
void model_free(struct model *m);
/* As XML; the caller frees it. */
char *model_print(const struct model *m, size_t *length);

enum model_result { MODEL_RIGHT, MODEL_WRONG, MODEL_STUCK };
/* Runs it with as many slots as it likes, the threadblocks in an order that comes from the seed. */
enum model_result model_run(const struct model *m, uint64_t seed);

#endif
