/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This machine, from hwloc. hwloc writes what it found as XML and the reader of recordings reads
 * it, so that a machine and its recording give the same graph. hwloc's plugins for CUDA, OpenCL and
 * the like are left out: they would start those libraries in the user's process, which takes
 * seconds and memory on the GPUs. So is the one for PCI, since the system's own files tell more to
 * a user who is not root. NVML's is kept; it only asks.
 */
#include <errno.h>
#include <hwloc.h>
#include <string.h>

#include "error.h"
#include "machine.h"

int hk_machine_read_live(struct hk_graph **graph)
{
	static const char *const unwanted[] = {"cuda", "opencl", "gl", "levelzero", "rsmi", "pci"};
	hwloc_topology_t t;
	char *xml = NULL;
	int size = 0, err;

	if (hwloc_topology_init(&t) < 0)
		return hk_fail(ENOMEM, "hwloc could not start");
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
		hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
					      unwanted[i]);
	hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
	if (hwloc_topology_load(t) < 0 || hwloc_topology_export_xmlbuffer(t, &xml, &size, 0) < 0) {
		err = hk_fail(EIO,
			      "hwloc could not look at this machine: %s; a recording "
			      "(HOCKET_TOPO_XML) would do instead",
			      strerror(errno));
		goto destroy;
	}
	/* The size counts the 0 at the end. */
	err = hk_machine_read_xml(xml, size > 0 ? (size_t)size - 1 : 0,
				  "hwloc's view of this machine", graph);
	hwloc_free_xmlbuffer(t, xml);
destroy:
	hwloc_topology_destroy(t);
	return err;
}
