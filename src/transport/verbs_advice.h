/* SPDX-License-Identifier: BSD-3-Clause */
/* What is not as good about a fabric as it could be, in sentences with cause and remedy. Nothing of
 * it keeps a job from running. docs/rdma.md explains each. */
#ifndef HK_TRANSPORT_VERBS_ADVICE_H
#define HK_TRANSPORT_VERBS_ADVICE_H

#include "verbs_device.h"

/* Calls say with each sentence about these rails, as a whole. */
void hk_ib_advise(const struct hk_ib_port *ports, unsigned n,
		  void (*say)(void *arg, const char *sentence), void *arg);

#endif
