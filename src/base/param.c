/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of environment variables. A value out of bounds or unreadable is reported once and its
 * default is used: a typing error must not change a job silently.
 */
#include "param.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *name;
	int64_t def, min, max;
	const char *help;
} ints[HK_NPARAMS_INT] = {
	[HK_PARAM_DEBUG] = {"HOCKET_DEBUG", 2, 0, 4,
			    "log on standard error: 0 none, 1 errors, 2 warnings, 3 info, 4 trace"},
	[HK_PARAM_TIMEOUT_MS] = {"HOCKET_TIMEOUT_MS", 300000, 1, 86400000,
				 "deadline of a wait inside a collective, in milliseconds"},
	[HK_PARAM_INIT_TIMEOUT_MS] = {"HOCKET_INIT_TIMEOUT_MS", 60000, 1, 86400000,
				      "deadline of communicator creation, in milliseconds"},
	[HK_PARAM_SPIN_US] =
		{"HOCKET_SPIN_US", -1, -1, 1000000,
		 "microseconds that a wait spins before it yields the core; -1: by core count"},
	[HK_PARAM_CHANNELS] = {"HOCKET_CHANNELS", 0, 0, 16, "channels per collective; 0: chosen"},
	[HK_PARAM_SLOTS] = {"HOCKET_SLOTS", 0, 0, 16,
			    "slots (messages in flight) per connection, from 2; 0: chosen"},
	[HK_PARAM_SLOT_BYTES] = {"HOCKET_SLOT_BYTES", 0, 0, 4194304,
				 "payload bytes per slot, a multiple of 4096; 0: chosen"},
	[HK_PARAM_PROVE_MAX] = {"HOCKET_PROVE_MAX", 32, 0, 1024,
				"schedules are proved at run time up to this many ranks"},
	[HK_PARAM_NT_BYTES] = {"HOCKET_NT_BYTES", -1, -1, INT64_MAX,
			       "results of this many bytes bypass the cache; -1: by cache size"},
	[HK_PARAM_OFFER_BYTES] = {"HOCKET_OFFER_BYTES", 8192, 64, INT64_MAX,
				  "messages of this many bytes are put straight into the result, "
				  "where the transport can"},
	[HK_PARAM_CMA] = {"HOCKET_CMA", 1, 0, 2,
			  "read other ranks' ordinary memory on the same host: 0 no, 1 yes, 2 in "
			  "the same process too by system calls, to try them"},
	[HK_PARAM_TCP_SOCKETS] = {"HOCKET_TCP_SOCKETS", 1, 1, 8,
				  "sockets that a tcp connection uses on each interface"},
	[HK_PARAM_TCP_FAILOVER_MS] =
		{"HOCKET_TCP_FAILOVER_MS", 600, 100, 86400000,
		 "milliseconds without an answer after which a tcp socket's data go over others"},
	[HK_PARAM_TCP_TIMEOUT_MS] =
		{"HOCKET_TCP_TIMEOUT_MS", 15000, 1000, 86400000,
		 "milliseconds without an answer after which a tcp connection is an error"},
	[HK_PARAM_CPU] = {"HOCKET_CPU", 2, 0, 2,
			  "best kernel set allowed: 0 portable, 1 AVX2, 2 AVX-512"},
	[HK_PARAM_IB_GID_INDEX] =
		{"HOCKET_IB_GID_INDEX", -1, -1, 65535,
		 "index in the RDMA port's table of GIDs; -1: the best is chosen"},
	[HK_PARAM_IB_TC] =
		{"HOCKET_IB_TC", 0, 0, 255,
		 "traffic class of RDMA packets (DSCP times 4), for the fabric's queues"},
	[HK_PARAM_IB_SL] = {"HOCKET_IB_SL", 0, 0, 15,
			    "service level of RDMA packets (InfiniBand's virtual lanes)"},
	[HK_PARAM_IB_PKEY] =
		{"HOCKET_IB_PKEY", 0, 0, 65535,
		 "InfiniBand partition key by its value, as 0x8001; 0: the first of the port's"},
	[HK_PARAM_IB_TIMEOUT] = {"HOCKET_IB_TIMEOUT", 14, 1, 31,
				 "an RDMA packet without an answer is sent again after 4.096 us "
				 "times 2 to this"},
	[HK_PARAM_IB_RETRY_CNT] =
		{"HOCKET_IB_RETRY_CNT", 6, 0, 6,
		 "how often an RDMA packet is sent again before its rail counts as dead"},
	[HK_PARAM_IB_RAILS] = {"HOCKET_IB_RAILS", 2, 1, 4, "most RDMA ports that a rank uses"},
	[HK_PARAM_IB_QPS] = {"HOCKET_IB_QPS", 1, 1, 8, "RDMA queue pairs per peer and rail"},
	[HK_PARAM_IB_IMMEDIATE] =
		{"HOCKET_IB_IMMEDIATE", 1, 0, 1,
		 "announce messages by immediates; 0: by messages of their own, as "
		 "with iWARP, to try that"},
	[HK_PARAM_IB_REG_BYTES] =
		{"HOCKET_IB_REG_BYTES", 1 << 30, 0, INT64_MAX / 2,
		 "most bytes of buffers kept registered with RDMA devices; 0: all are copied"},
	[HK_PARAM_IB_MTU] = {"HOCKET_IB_MTU", 0, 0, 4096,
			     "largest RDMA packet: 256, 512, 1024, 2048, 4096; 0: as the ports"},
	[HK_PARAM_DEVICE] = {"HOCKET_DEVICE", -1, -2, 1024,
			     "GPU of communicators whose configuration names none; -1: none, -2: "
			     "that of the calling thread"},
	[HK_PARAM_GPU_BLOCKS] = {"HOCKET_GPU_BLOCKS", 0, 0, 1024,
				 "most thread blocks per rank and call on a GPU, 0: chosen"},
	[HK_PARAM_GPUDIRECT] = {"HOCKET_GPUDIRECT", 1, 0, 1,
				"RDMA devices read GPU memory, where they can; 0: messages go "
				"through host memory"},
	[HK_PARAM_COPY_BYTES] = {"HOCKET_COPY_BYTES", 1 << 20, 0, INT64_MAX / 2,
				 "blocks of this many bytes are moved by GPUs' copy engines, where "
				 "results are in symmetric windows; 0: none"},
};

/* Why just these bounds, where nobody would guess. */
static const char *const bounds[HK_NPARAMS_INT] = {
	[HK_PARAM_IB_RETRY_CNT] =
		" (7 makes some devices try for ever: a dead peer would never be noticed)",
};

static const struct {
	const char *name, *help;
} strs[HK_NPARAMS_STR] = {
	[HK_PARAM_ALGO] =
		{"HOCKET_ALGO",
		 "use these algorithms wherever they fit, comma-separated, for experiments"},
	[HK_PARAM_SCHEDULES] =
		{"HOCKET_SCHEDULES",
		 "directory of schedules (.hks, MSCCL's .xml) to run for the sizes they name"},
	[HK_PARAM_CACHE_HOME] = {"XDG_CACHE_HOME",
				 "folder whose hocket/ keeps what `hocket tune` measured"},
	[HK_PARAM_HOME] = {"HOME", "the same in .cache/hocket/, where XDG_CACHE_HOME is not set"},
	[HK_PARAM_TRANSPORTS] = {"HOCKET_TRANSPORTS",
				 "transports allowed, comma-separated, best first: shm,verbs,tcp"},
	[HK_PARAM_IFNAME] =
		{"HOCKET_IFNAME",
		 "network interfaces for start-up and tcp: starts of names, comma-separated; ^NAME "
		 "excludes, =NAME is the whole name"},
	[HK_PARAM_HOST_ID] =
		{"HOCKET_HOST_ID",
		 "ranks with different texts act as on different hosts (to try network paths)"},
	[HK_PARAM_SWITCHES] =
		{"HOCKET_SWITCHES",
		 "host:port of switches that reduce (hocket switch), comma-separated; "
		 "of several the first is the top of the tree"},
	[HK_PARAM_SWITCH_KEY] = {"HOCKET_SWITCH_KEY",
				 "file with the secret of those switches; rank 0 reads it"},
	[HK_PARAM_TOPO_FILE] =
		{"HOCKET_TOPO_FILE",
		 "file that describes the cluster (docs/topology.md), instead of this machine"},
	[HK_PARAM_TOPO_XML] = {"HOCKET_TOPO_XML",
			       "hwloc's recording of a machine, instead of looking at this one"},
	[HK_PARAM_IB_HCA] =
		{"HOCKET_IB_HCA",
		 "RDMA devices to use, comma-separated: mlx5_0, mlx5_0:1, mlx5 (all of these), "
		 "mlx5_*, =exact, ^without"},
	[HK_PARAM_IB_CM] = {"HOCKET_IB_CM",
			    "how RDMA connections are made: bootstrap (the default) or rdmacm"},
	[HK_PARAM_CUDA_DRIVER] = {"HOCKET_CUDA_DRIVER",
				  "file of the CUDA driver's library, instead of libcuda.so.1"},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int64_t values[HK_NPARAMS_INT];
static int int_set[HK_NPARAMS_INT];
static const char *str_values[HK_NPARAMS_STR];

static void read_all(void)
{
	for (unsigned i = 0; i < HK_NPARAMS_INT; i++) {
		const char *text = getenv(ints[i].name);
		char *end;
		long long v;

		values[i] = ints[i].def;
		if (!text || !*text)
			continue;
		errno = 0;
		v = strtoll(text, &end, 0);
		if (errno || *end || v < ints[i].min || v > ints[i].max) {
			/* The log reads its level from here: write plainly instead. */
			fprintf(stderr,
				"hocket: %s=%s is not a number from %lld to %lld%s; using "
				"%lld\n",
				ints[i].name, text, (long long)ints[i].min, (long long)ints[i].max,
				bounds[i] ? bounds[i] : "", (long long)ints[i].def);
			continue;
		}
		values[i] = v;
		int_set[i] = 1;
	}
	for (unsigned i = 0; i < HK_NPARAMS_STR; i++) {
		const char *text = getenv(strs[i].name);

		str_values[i] = text && *text ? text : NULL;
	}
}

int64_t hk_param(enum hk_param p)
{
	pthread_once(&once, read_all);
	return values[p];
}

int hk_param_given(enum hk_param p)
{
	pthread_once(&once, read_all);
	return int_set[p];
}

const char *hk_param_str(enum hk_param_str p)
{
	pthread_once(&once, read_all);
	return str_values[p];
}

int hk_param_describe(unsigned i, struct hk_param_info *out)
{
	static _Thread_local char text[32];

	pthread_once(&once, read_all);
	if (i < HK_NPARAMS_INT) {
		snprintf(text, sizeof(text), "%lld", (long long)values[i]);
		*out = (struct hk_param_info){ints[i].name, ints[i].help, text, int_set[i]};
		return 0;
	}
	i -= HK_NPARAMS_INT;
	if (i >= HK_NPARAMS_STR)
		return -ENOENT;
	*out = (struct hk_param_info){strs[i].name, strs[i].help,
				      str_values[i] ? str_values[i] : "", str_values[i] != NULL};
	return 0;
}
