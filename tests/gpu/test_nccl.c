/* SPDX-License-Identifier: BSD-3-Clause */
/* libnccl.so.2 where there are GPUs: communicators that name none get the first ones. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <hocket/hocket.h>

#include "nccl_abi.h"

#define RANKS 3
#define COUNT 1000

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s is false: %s\n", __FILE__, __LINE__, #what,     \
				ncclGetLastError(NULL));                                           \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int all_reduce(ncclComm_t *comms)
{
	static int32_t in[RANKS][COUNT], out[RANKS][COUNT];

	for (int r = 0; r < RANKS; r++)
		for (int i = 0; i < COUNT; i++)
			in[r][i] = (r + 1) * i;
	CHECK(ncclGroupStart() == ncclSuccess);
	for (int r = 0; r < RANKS; r++)
		CHECK(ncclAllReduce(in[r], out[r], COUNT, ncclInt32, ncclSum, comms[r], NULL) ==
		      ncclSuccess);
	CHECK(ncclGroupEnd() == ncclSuccess);
	for (int r = 0; r < RANKS; r++)
		for (int i = 0; i < COUNT; i++)
			CHECK(out[r][i] == RANKS * (RANKS + 1) / 2 * i);
	return 0;
}

int main(void)
{
	ncclComm_t comms[RANKS];
	int count = 0, device;

	CHECK(hocketDeviceCount(&count) == hocketSuccess);
	if (!count) {
		puts("there is no GPU");
		return 77;
	}
	CHECK(ncclCommInitAll(comms, RANKS, NULL) == ncclSuccess);
	for (int r = 0; r < RANKS; r++) {
		CHECK(ncclCommCuDevice(comms[r], &device) == ncclSuccess);
		CHECK(device == r % count);
	}
	if (all_reduce(comms))
		return 1;
	for (int r = 0; r < RANKS; r++)
		CHECK(ncclCommDestroy(comms[r]) == ncclSuccess);
	return 0;
}
