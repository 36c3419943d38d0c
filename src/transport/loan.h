/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lending registered memory between processes of one host, for transports that do: the lender says
 * where in its file of registered memory a message is, and the borrower reads it there through a
 * mapping that it keeps. See loan.c.
 */
#ifndef HK_TRANSPORT_LOAN_H
#define HK_TRANSPORT_LOAN_H

#include "transport.h"

#define HK_LOAN_REGIONS 64u /* of one lender; what is in more is not lent */
#define HK_LOAN_MAPS	16u /* of one peer's regions at a time */

/* Where a message is; small enough to travel in its header. */
struct hk_loan {
	uint64_t region, region_bytes; /* of the lender's file */
	uint64_t at;		       /* from the region's start */
};

struct hk_lender {
	struct hk_memory regions[HK_LOAN_REGIONS];
	unsigned nregions;
	bool published; /* the file, on the wire */
};

int hk_lender_attach(struct hk_lender *l, struct hk_wire *wire, uint32_t tag,
		     const struct hk_memory *m);
void hk_lender_detach(struct hk_lender *l, const struct hk_memory *m);
/* Whether all the bytes at data are registered; then where they are. Hot. */
bool hk_lender_find(const struct hk_lender *l, const void *data, size_t bytes,
		    struct hk_loan *loan);

/* What this process has mapped of one peer's registered memory. All zero: nothing. */
struct hk_borrower {
	bool open;
	int file;
	uint64_t file_bytes;
	unsigned next; /* map to be replaced */
	struct hk_loan_map {
		uint64_t region, bytes;
		uint8_t *base; /* NULL: unused */
	} maps[HK_LOAN_MAPS];
};

/* Address of `bytes` that peer lent; maps their region if this is its first loan. Nothing in loan
 * is believed before it was compared with the size of the peer's file. */
int hk_borrower_find(struct hk_borrower *b, struct hk_wire *wire, int peer, uint32_t tag,
		     const struct hk_loan *loan, size_t bytes, const void **data);
void hk_borrower_close(struct hk_borrower *b);

#endif
