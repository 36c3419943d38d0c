/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory in one file of this process, so that other processes can map any part of it. See arena.c.
 */
#ifndef HK_COMM_ARENA_H
#define HK_COMM_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "transport.h"

/* Zeroed, page-aligned memory. */
int hk_arena_alloc(size_t bytes, void **ptr);
/* -EINVAL if ptr is not the start of a block. */
int hk_arena_free(void *ptr);
/* The block that holds all of [ptr, ptr + bytes); false if there is none, or it is not in the file.
 */
bool hk_arena_find(const void *ptr, size_t bytes, struct hk_memory *block);

#endif
