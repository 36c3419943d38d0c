/* SPDX-License-Identifier: BSD-3-Clause */
/* Which topology is in force: what the user gave, or this machine. */
#include <errno.h>

#include "error.h"
#include "machine.h"
#include "param.h"
#include "place.h"
#include "text.h"

int hk_topo_load(struct hk_graph **graph, bool *given)
{
	const char *file = hk_param_str(HK_PARAM_TOPO_FILE), *xml = hk_param_str(HK_PARAM_TOPO_XML);
	int err;

	if (file && xml)
		return hk_fail(EINVAL, "HOCKET_TOPO_FILE and HOCKET_TOPO_XML are both set: unset "
				       "one; a file can name recordings");
	err = file  ? hk_text_load(file, graph)
	      : xml ? hk_machine_load_xml(xml, graph)
		    : hk_machine_read_live(graph);
	if (!err && given)
		*given = file || xml;
	return err;
}
