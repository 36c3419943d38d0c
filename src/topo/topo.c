/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the host through hwloc. Only caches and processors are discovered (no devices), which keeps
 * it to milliseconds; the facts are read once per process. Where the process may run can change, so
 * that is asked each time.
 */
#include "topo.h"

#include <hwloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct hk_host facts;
/* Per processor: the package and the NUMA node that it is in, -1: unknown. */
#define NCPUS (HK_CPUSET_WORDS * 64)
static int package_of[NCPUS], numa_of[NCPUS];

static size_t cache_bytes(hwloc_topology_t t, hwloc_obj_type_t type)
{
	hwloc_obj_t obj = hwloc_get_obj_by_type(t, type, 0);

	return obj ? obj->attr->cache.size : 0;
}

/* Notes for every processor which object of that type it is in. */
static void note_homes(hwloc_topology_t t, hwloc_obj_type_t type, int *home)
{
	for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(t, type, o));)
		for (int cpu = hwloc_bitmap_first(o->cpuset); cpu >= 0 && cpu < NCPUS;
		     cpu = hwloc_bitmap_next(o->cpuset, cpu))
			home[cpu] = (int)o->logical_index;
}

static void name_model(hwloc_topology_t t)
{
	hwloc_obj_t package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
	const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;

	if (model)
		snprintf(facts.model, sizeof(facts.model), "%s", model);
}

static void discover(void)
{
	hwloc_topology_t t;
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	memset(package_of, -1, sizeof(package_of));
	memset(numa_of, -1, sizeof(numa_of));
	facts.cores = n > 0 ? (unsigned)n : 1;
	n = sysconf(_SC_NPROCESSORS_CONF);
	facts.processors = n > 0 ? (unsigned)n : facts.cores;
	if (hwloc_topology_init(&t) < 0)
		return;
	hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_type_filter(t, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(t, HWLOC_OBJ_L2CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(t, HWLOC_OBJ_L3CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(t, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
	if (hwloc_topology_load(t) == 0) {
		int allowed = hwloc_bitmap_weight(hwloc_topology_get_allowed_cpuset(t));

		if (allowed > 0)
			facts.cores = (unsigned)allowed;
		name_model(t);
		facts.l2_bytes = cache_bytes(t, HWLOC_OBJ_L2CACHE);
		facts.l3_bytes = cache_bytes(t, HWLOC_OBJ_L3CACHE);
		note_homes(t, HWLOC_OBJ_PACKAGE, package_of);
		note_homes(t, HWLOC_OBJ_NUMANODE, numa_of);
	}
	hwloc_topology_destroy(t);
}

/* The home that all processors of the set share. */
static int common_home(const uint64_t *cpuset, const int *home)
{
	int common = -1;
	bool first = true;

	for (int cpu = 0; cpu < NCPUS; cpu++) {
		if (!(cpuset[cpu / 64] >> (cpu % 64) & 1))
			continue;
		if (!first && home[cpu] != common)
			return -1;
		common = home[cpu];
		first = false;
	}
	return common;
}

void hk_topo_host(struct hk_host *host)
{
	cpu_set_t set;

	pthread_once(&once, discover);
	*host = facts;
	memset(host->cpuset, 0, sizeof(host->cpuset));
	host->package = host->numa = -1;
	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	for (unsigned i = 0; i < CPU_SETSIZE && i < NCPUS; i++)
		if (CPU_ISSET(i, &set))
			host->cpuset[i / 64] |= 1ull << (i % 64);
	host->package = common_home(host->cpuset, package_of);
	host->numa = common_home(host->cpuset, numa_of);
}
