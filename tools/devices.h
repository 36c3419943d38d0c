/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines of `hocket doctor` about devices. */
#ifndef HK_TOOLS_DEVICES_H
#define HK_TOOLS_DEVICES_H

void hk_devices_print_rdma(void);
void hk_devices_print_cuda(void);

#endif
