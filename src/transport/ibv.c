/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opens libibverbs and looks its functions up, by name and version: the library keeps older
 * functions of the same names for programs of 2006. The table of names below says where in struct
 * hk_ibv each goes. Its providers (the devices' drivers) are found by the library itself.
 */
#include "ibv.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "libibverbs.so.1"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct hk_ibv table;
static const struct hk_ibv *found;
static char problem[256];

/* Behind the two calls that verbs.h makes macros of. */
static int (*plain_query_port)(struct ibv_context *ctx, uint8_t port,
			       struct _compat_ibv_port_attr *attr);
static ssize_t (*sized_query_gid_table)(struct ibv_context *ctx, struct ibv_gid_entry *entries,
					size_t most, uint32_t flags, size_t entry_size);

/* The context's own query fills the whole struct; the exported one fills the shorter, older one. */
static int query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *attr)
{
	struct verbs_context *own = verbs_get_ctx_op(ctx, query_port);

	if (own)
		return own->query_port(ctx, port, attr, sizeof(*attr));
	memset(attr, 0, sizeof(*attr));
	return plain_query_port(ctx, port, (struct _compat_ibv_port_attr *)attr);
}

static ssize_t query_gid_table(struct ibv_context *ctx, struct ibv_gid_entry *entries, size_t most,
			       uint32_t flags)
{
	return sized_query_gid_table(ctx, entries, most, flags, sizeof(*entries));
}

static const struct {
	const char *name, *version;
	void *place; /* of the pointer to fill */
	int optional;
} functions[] = {
	{"ibv_get_device_list", "IBVERBS_1.1", &table.get_device_list, 0},
	{"ibv_free_device_list", "IBVERBS_1.1", &table.free_device_list, 0},
	{"ibv_get_device_name", "IBVERBS_1.1", &table.get_device_name, 0},
	{"ibv_open_device", "IBVERBS_1.1", &table.open_device, 0},
	{"ibv_close_device", "IBVERBS_1.1", &table.close_device, 0},
	{"ibv_query_device", "IBVERBS_1.1", &table.query_device, 0},
	{"ibv_get_async_event", "IBVERBS_1.1", &table.get_async_event, 0},
	{"ibv_ack_async_event", "IBVERBS_1.1", &table.ack_async_event, 0},
	{"ibv_query_port", "IBVERBS_1.1", &plain_query_port, 0},
	{"ibv_query_gid", "IBVERBS_1.1", &table.query_gid, 0},
	{"_ibv_query_gid_table", "IBVERBS_1.11", &sized_query_gid_table, 0},
	{"ibv_query_pkey", "IBVERBS_1.1", &table.query_pkey, 0},
	{"ibv_alloc_pd", "IBVERBS_1.1", &table.alloc_pd, 0},
	{"ibv_dealloc_pd", "IBVERBS_1.1", &table.dealloc_pd, 0},
	{"ibv_reg_mr", "IBVERBS_1.1", &table.reg_mr, 0},
	{"ibv_dereg_mr", "IBVERBS_1.1", &table.dereg_mr, 0},
	{"ibv_reg_mr_iova2", "IBVERBS_1.8", &table.reg_mr_iova2, 1},
	{"ibv_reg_dmabuf_mr", "IBVERBS_1.12", &table.reg_dmabuf_mr, 1},
	{"ibv_create_comp_channel", "IBVERBS_1.0", &table.create_comp_channel, 0},
	{"ibv_destroy_comp_channel", "IBVERBS_1.0", &table.destroy_comp_channel, 0},
	{"ibv_create_cq", "IBVERBS_1.1", &table.create_cq, 0},
	{"ibv_destroy_cq", "IBVERBS_1.1", &table.destroy_cq, 0},
	{"ibv_resize_cq", "IBVERBS_1.1", &table.resize_cq, 0},
	{"ibv_get_cq_event", "IBVERBS_1.1", &table.get_cq_event, 0},
	{"ibv_ack_cq_events", "IBVERBS_1.1", &table.ack_cq_events, 0},
	{"ibv_create_srq", "IBVERBS_1.1", &table.create_srq, 0},
	{"ibv_destroy_srq", "IBVERBS_1.1", &table.destroy_srq, 0},
	{"ibv_create_qp", "IBVERBS_1.1", &table.create_qp, 0},
	{"ibv_modify_qp", "IBVERBS_1.1", &table.modify_qp, 0},
	{"ibv_query_qp", "IBVERBS_1.1", &table.query_qp, 0},
	{"ibv_destroy_qp", "IBVERBS_1.1", &table.destroy_qp, 0},
	{"ibv_wc_status_str", "IBVERBS_1.1", &table.wc_status_str, 0},
	{"ibv_event_type_str", "IBVERBS_1.1", &table.event_type_str, 0},
	{"ibv_port_state_str", "IBVERBS_1.1", &table.port_state_str, 0},
};

static void load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		snprintf(problem, sizeof(problem),
			 LIBRARY " can't be opened (%s); install libibverbs1 and "
				 "ibverbs-providers",
			 dlerror());
		return;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++) {
		void *f = dlvsym(library, functions[i].name, functions[i].version);

		if (!f && !functions[i].optional) {
			snprintf(problem, sizeof(problem),
				 LIBRARY " is too old: it has no %s of %s; install rdma-core 32 "
					 "or newer",
				 functions[i].name, functions[i].version);
			dlclose(library);
			return;
		}
		memcpy(functions[i].place, &f, sizeof(f));
	}
	table.query_port = query_port;
	table.query_gid_table = query_gid_table;
	found = &table;
}

const struct hk_ibv *hk_ibv(void)
{
	pthread_once(&once, load);
	return found;
}

const char *hk_ibv_problem(void)
{
	pthread_once(&once, load);
	return problem;
}
