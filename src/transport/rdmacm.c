/* SPDX-License-Identifier: BSD-3-Clause */
/* Opens librdmacm and looks its functions up by name and version; see rdmacm.h. */
#include "rdmacm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "librdmacm.so.1"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct hk_rdmacm table;
static const struct hk_rdmacm *found;
static char problem[256];

static const struct {
	const char *name, *version;
	void *place; /* of the pointer to fill */
} functions[] = {
	{"rdma_create_event_channel", "RDMACM_1.0", &table.create_event_channel},
	{"rdma_destroy_event_channel", "RDMACM_1.0", &table.destroy_event_channel},
	{"rdma_create_id", "RDMACM_1.0", &table.create_id},
	{"rdma_destroy_id", "RDMACM_1.0", &table.destroy_id},
	{"rdma_bind_addr", "RDMACM_1.0", &table.bind_addr},
	{"rdma_resolve_addr", "RDMACM_1.0", &table.resolve_addr},
	{"rdma_resolve_route", "RDMACM_1.0", &table.resolve_route},
	{"rdma_listen", "RDMACM_1.0", &table.listen},
	{"rdma_connect", "RDMACM_1.0", &table.connect},
	{"rdma_accept", "RDMACM_1.0", &table.accept},
	{"rdma_reject", "RDMACM_1.0", &table.reject},
	{"rdma_establish", "RDMACM_1.2", &table.establish},
	{"rdma_init_qp_attr", "RDMACM_1.2", &table.init_qp_attr},
	{"rdma_get_cm_event", "RDMACM_1.0", &table.get_cm_event},
	{"rdma_ack_cm_event", "RDMACM_1.0", &table.ack_cm_event},
	{"rdma_event_str", "RDMACM_1.0", &table.event_str},
	{"rdma_get_src_port", "RDMACM_1.0", &table.get_src_port},
};

static void load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		snprintf(problem, sizeof(problem),
			 LIBRARY " can't be opened (%s); install librdmacm1", dlerror());
		return;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++) {
		void *f = dlvsym(library, functions[i].name, functions[i].version);

		if (!f) {
			snprintf(problem, sizeof(problem),
				 LIBRARY " is too old: it has no %s of %s; install rdma-core 32 "
					 "or newer",
				 functions[i].name, functions[i].version);
			dlclose(library);
			return;
		}
		memcpy(functions[i].place, &f, sizeof(f));
	}
	found = &table;
}

const struct hk_rdmacm *hk_rdmacm(void)
{
	pthread_once(&once, load);
	return found;
}

const char *hk_rdmacm_problem(void)
{
	pthread_once(&once, load);
	return problem;
}
