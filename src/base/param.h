/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parameters: every environment variable that Hocket reads, in one table (param.c), with its
 * default, its bounds and a sentence for `hocket doctor`. This is the only place that calls getenv.
 * Values are read once, at the first use in the process.
 */
#ifndef HK_BASE_PARAM_H
#define HK_BASE_PARAM_H

#include <stdint.h>

enum hk_param {
	HK_PARAM_DEBUG,		  /* log level, 0 to 4 */
	HK_PARAM_TIMEOUT_MS,	  /* deadline of any wait inside a collective */
	HK_PARAM_INIT_TIMEOUT_MS, /* deadline of the bootstrap */
	HK_PARAM_SPIN_US,  /* how long a wait spins before it yields; -1: by the number of cores */
	HK_PARAM_CHANNELS, /* channels per collective, 0: chosen */
	HK_PARAM_SLOTS,	   /* slots per connection, 0: chosen */
	HK_PARAM_SLOT_BYTES, /* payload bytes per slot, 0: chosen */
	HK_PARAM_PROVE_MAX,  /* schedules are proved at run time up to this many ranks */
	HK_PARAM_NT_BYTES, /* results from this size on bypass the cache, -1: by the cache's size */
	HK_PARAM_OFFER_BYTES, /* messages from this size on may be put where they are wanted */
	HK_PARAM_CMA, /* whether ranks of a host read each other's memory: 0, 1, 2 (param.c) */
	HK_PARAM_CPU, /* highest kernel set allowed: 0 portable, 1 AVX2, 2 AVX-512 */
	HK_PARAM_IB_GID_INDEX,	  /* index in a port's table of GIDs, -1: chosen */
	HK_PARAM_IB_TC,		  /* traffic class of RDMA packets */
	HK_PARAM_IB_SL,		  /* service level of RDMA packets */
	HK_PARAM_IB_PKEY,	  /* value of the partition key, 0: the first of the port's table */
	HK_PARAM_IB_TIMEOUT,	  /* exponent: 4.096 us * 2^timeout until a packet is sent again */
	HK_PARAM_IB_RETRY_CNT,	  /* how often it is sent again */
	HK_PARAM_IB_RAILS,	  /* most ports used per rank */
	HK_PARAM_IB_QPS,	  /* queue pairs per peer and rail */
	HK_PARAM_IB_IMMEDIATE,	  /* whether messages are announced by immediates */
	HK_PARAM_IB_REG_BYTES,	  /* most user memory registered per endpoint */
	HK_PARAM_IB_MTU,	  /* largest packet, 0: as the port's */
	HK_PARAM_TCP_SOCKETS,	  /* sockets per connection and interface */
	HK_PARAM_TCP_FAILOVER_MS, /* a silent socket is given up after this long if others live */
	HK_PARAM_TCP_TIMEOUT_MS,  /* and the last one after this long */
	HK_PARAM_DEVICE,     /* GPU of communicators that name none; -1: none, -2: the thread's */
	HK_PARAM_GPU_BLOCKS, /* most blocks of a kernel, 0: chosen */
	HK_PARAM_GPUDIRECT,  /* whether RDMA devices may read GPU memory */
	HK_PARAM_COPY_BYTES, /* blocks of a call that may go by copy engines */
	HK_NPARAMS_INT,
};

enum hk_param_str {
	HK_PARAM_ALGO,	     /* force an algorithm by name, for experiments */
	HK_PARAM_TRANSPORTS, /* comma-separated transports allowed, in order of preference */
	HK_PARAM_IFNAME,     /* interfaces for bootstrap addresses and tcp: a list (boot_links.c) */
	HK_PARAM_HOST_ID,    /* splits a host: processes share memory only if it is equal */
	HK_PARAM_SWITCHES,   /* addresses of switches that reduce, comma-separated */
	HK_PARAM_SWITCH_KEY, /* file with the secret that switches and ranks 0 share */
	HK_PARAM_TOPO_FILE,  /* the cluster, in the topology's text format */
	HK_PARAM_TOPO_XML,   /* the machine, as hwloc recorded it */
	HK_PARAM_SCHEDULES,  /* directory of schedules to use */
	HK_PARAM_CACHE_HOME, /* where what was measured is kept, in hocket/ */
	HK_PARAM_HOME,	     /* the same in .cache/hocket/, if that is not set */
	HK_PARAM_IB_HCA,     /* RDMA devices and ports to use (transport/verbs_choice.h) */
	HK_PARAM_IB_CM,	     /* how queue pairs are connected: bootstrap or rdmacm */
	HK_PARAM_CUDA_DRIVER, /* file of the CUDA driver's library */
	HK_NPARAMS_STR,
};

int64_t hk_param(enum hk_param p);
/* Whether the environment says it; else it is the default. */
int hk_param_given(enum hk_param p);
/* NULL when unset. */
const char *hk_param_str(enum hk_param_str p);

struct hk_param_info {
	const char *name; /* HOCKET_... */
	const char *help;
	const char *value; /* the value in force, as text */
	int from_env;
};
/* Parameter i of the whole table; 0, or -ENOENT past the end. For `hocket doctor`. */
int hk_param_describe(unsigned i, struct hk_param_info *out);

#endif
