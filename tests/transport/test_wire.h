/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An hk_wire for ranks inside one process: what the bootstrap does between processes, with a table
 * under a mutex. Sockets are real TCP over loopback; descriptors are duplicated. Any thread may
 * call any rank's wire. A fetch gives up after five seconds with -ETIMEDOUT.
 */
#ifndef HK_TEST_WIRE_H
#define HK_TEST_WIRE_H

#include "transport.h"

struct test_wires;

/* sndbuf: SO_SNDBUF of the dialling end, rcvbuf: SO_RCVBUF of the answering one; 0: the kernel's.
 */
int test_wires_create(int nranks, int sndbuf, int rcvbuf, struct test_wires **wires);
/* Valid until destroy. */
struct hk_wire *test_wires_rank(struct test_wires *wires, int rank);
/* The rank is gone: closes what it was dialled and has not answered. */
void test_wires_leave(struct test_wires *wires, int rank);
/* Closes what nobody answered or fetched; NULL is fine. */
void test_wires_destroy(struct test_wires *wires);

#endif
