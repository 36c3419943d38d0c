/* SPDX-License-Identifier: BSD-3-Clause */
/* Rank r gets the r-th core, in hwloc's logical order, that this process may use any part of. */
#include "run_cores.h"

#include <hwloc.h>
#include <hwloc/glibc-sched.h>

static int pick(hwloc_topology_t topology, int n, cpu_set_t *sets)
{
	hwloc_bitmap_t allowed = hwloc_bitmap_alloc(), set = hwloc_bitmap_alloc();
	int found = 0, cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);

	if (allowed && set && !hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_THREAD)) {
		for (int i = 0; i < cores && found < n; i++) {
			hwloc_obj_t core =
				hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i);

			hwloc_bitmap_and(set, core->cpuset, allowed);
			if (!hwloc_bitmap_iszero(set) &&
			    !hwloc_cpuset_to_glibc_sched_affinity(topology, set, &sets[found],
								  sizeof(cpu_set_t)))
				found++;
		}
	}
	hwloc_bitmap_free(set);
	hwloc_bitmap_free(allowed);
	return found == n ? 0 : -1;
}

int hk_run_cores(int n, cpu_set_t *sets)
{
	hwloc_topology_t topology;
	int failed;

	if (hwloc_topology_init(&topology))
		return -1;
	failed = hwloc_topology_load(topology) || pick(topology, n, sets);
	hwloc_topology_destroy(topology);
	return failed ? -1 : 0;
}
