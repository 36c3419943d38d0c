/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations with a scalar. avg of floats and pre-multiplied sums scale what is read from IN; avg
 * of integers divides the sum at the end. User operations are numbers from FIRST_USER_OP on, an
 * index into the communicator's table.
 */
#include <errno.h>
#include <string.h>

#include "comm.h"

#define FIRST_USER_OP 0x1000
enum { NAME_AVG = HK_NREDOPS, NAME_PREMUL }; /* for marks, after the kernels' own */

static struct hk_premul *user_op(struct hk_comm *c, hocketRedOp_t op)
{
	unsigned i = (unsigned)op - FIRST_USER_OP;

	return (unsigned)op >= FIRST_USER_OP && i < HK_MAX_REDOPS && c->premuls[i].used
		       ? &c->premuls[i]
		       : NULL;
}

/* A scalar in memory becomes what the kernels take: small floats as float32. */
static void read_scalar(hocketDataType_t type, const void *from, union hk_scalar *to)
{
	enum hk_type t = (enum hk_type)type;

	memset(to, 0, sizeof(*to));
	if (hk_type_is_float(t) && hk_type_size(t) < 4)
		to->f = hk_type_to_float(t, from);
	else
		memcpy(to, from, hk_type_size(t));
}

void hk_comm_init_means(struct hk_comm *c)
{
	double mean = 1.0 / c->nranks;

	for (int t = 0; t < HK_NTYPES; t++) {
		if (t == HK_FLOAT64)
			memcpy(&c->mean[t], &mean, sizeof(mean));
		else
			c->mean[t].f = (float)mean;
	}
}

static int resolve_user_op(struct hk_comm *c, struct hk_request *req)
{
	const struct hk_premul *u = user_op(c, req->op);

	if (!u)
		return hk_fail_quiet(EINVAL, "%d is no reduction of this communicator",
				     (int)req->op);
	if (u->type != req->type)
		return hk_fail_quiet(EINVAL, "reduction %d was made for %s, not %s", (int)req->op,
				     hk_type_name((enum hk_type)u->type),
				     hk_type_name((enum hk_type)req->type));
	req->name = NAME_PREMUL;
	req->scaled = true;
	req->device = u->device;
	req->scalar = u->value;
	return 0;
}

int hk_comm_resolve_op(struct hk_comm *c, struct hk_request *req)
{
	req->kernel_op = HK_SUM;
	req->name = (unsigned)req->op;
	if ((unsigned)req->op < HK_NREDOPS) {
		req->kernel_op = (enum hk_redop)req->op;
		return 0;
	}
	if (req->op != hocketAvg)
		return resolve_user_op(c, req);
	req->name = NAME_AVG;
	if (c->nranks == 1)
		return 0;
	if (hk_type_is_float((enum hk_type)req->type)) {
		req->scaled = true;
		req->scalar = c->mean[req->type];
	} else {
		req->divide = (uint32_t)c->nranks;
	}
	return 0;
}

void hk_comm_read_device_scalar(struct hk_request *req)
{
	read_scalar(req->type, req->device, &req->scalar);
}

static int create(struct hk_comm *c, hocketRedOp_t *op, const void *scalar, hocketDataType_t type,
		  hocketScalarResidence_t residence)
{
	if (!op || !scalar)
		return hk_fail_quiet(EINVAL, "hocketRedOpCreatePreMulSum: %s is NULL",
				     op ? "scalar" : "op");
	if ((unsigned)type >= HK_NTYPES)
		return hk_fail_quiet(EINVAL, "hocketRedOpCreatePreMulSum: %d is no data type",
				     (int)type);
	if (residence != hocketScalarDevice && residence != hocketScalarHostImmediate)
		return hk_fail_quiet(EINVAL, "hocketRedOpCreatePreMulSum: %d is no residence",
				     (int)residence);
	for (unsigned i = 0; i < HK_MAX_REDOPS; i++) {
		struct hk_premul *u = &c->premuls[i];

		if (u->used)
			continue;
		*u = (struct hk_premul){.used = true, .type = type};
		if (residence == hocketScalarDevice)
			u->device = scalar;
		else
			read_scalar(type, scalar, &u->value);
		*op = (hocketRedOp_t)(FIRST_USER_OP + i);
		return 0;
	}
	return hk_fail_quiet(EMFILE, "a communicator has at most %d reductions; destroy some",
			     HK_MAX_REDOPS);
}

hocketResult_t hocketRedOpCreatePreMulSum(hocketRedOp_t *op, void *scalar,
					  hocketDataType_t datatype,
					  hocketScalarResidence_t residence, hocketComm_t comm)
{
	struct hk_comm *c = hk_handle_enter(comm);
	int err;

	if (!c)
		return hk_result(hk_handle_why());
	err = create(c, op, scalar, datatype, residence);
	hk_handle_leave(comm);
	return hk_result(err);
}

hocketResult_t hocketRedOpDestroy(hocketRedOp_t op, hocketComm_t comm)
{
	struct hk_comm *c = hk_handle_enter(comm);
	struct hk_premul *u;
	int err = 0;

	if (!c)
		return hk_result(hk_handle_why());
	u = user_op(c, op);
	if (u)
		u->used = false;
	else
		err = hk_fail_quiet(EINVAL, "%d is no reduction that this communicator made",
				    (int)op);
	hk_handle_leave(comm);
	return hk_result(err);
}
