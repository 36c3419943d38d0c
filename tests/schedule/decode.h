/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Turns any bytes into a schedule, valid or not, and puts it through the checker and the fusion
 * pass. The fuzzer and the seeded test share it.
 */
#ifndef HK_TEST_DECODE_H
#define HK_TEST_DECODE_H

#include <stddef.h>
#include <stdint.h>

/* What became of an input: the phase that rejected it, 0 if it was proved. Aborts on a broken
 * promise: an undocumented code, a rejection without a sentence, or a proved schedule that is wrong
 * once fused. */
int try_bytes(const uint8_t *data, size_t size);

#endif
