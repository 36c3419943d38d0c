/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults of the bed's fabric, made and mended at once: what the `rail` script does in tens of
 * milliseconds, for programs that want to hit a moment. The bridge bed only; README.md explains it.
 */
#ifndef TESTS_SOFTROCE_FABRIC_H
#define TESTS_SOFTROCE_FABRIC_H

#include <stdbool.h>

enum fabric_fault {
	FABRIC_DOWN, /* the card's link goes down: its own rank is told */
	FABRIC_CUT,  /* the cable is cut behind its far end: nobody is told */
	FABRIC_LOSS, /* all that the card sends is lost */
	FABRIC_FAULTS,
};

extern const char *const fabric_names[FABRIC_FAULTS];

/* Makes (broken) or mends a fault of this rank's card on this rail. 0 or -errno. */
int fabric_set(enum fabric_fault fault, unsigned rail, unsigned rank, bool broken);
/* Packets that its RDMA device has received so far, or -1 without such a counter. */
long long fabric_packets(unsigned rail, unsigned rank);

#endif
