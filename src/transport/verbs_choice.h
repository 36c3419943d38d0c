/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules by which verbs chooses ports and GIDs, apart from the devices: plain functions over
 * plain tables, so that machines with hardware that we don't have can be tried as tables.
 *
 * HOCKET_IB_HCA is a list with commas; spaces are ignored. An item is
 *
 *     [^][=]DEVICE[:PORT]
 *
 * DEVICE matches a device of that name and those whose names begin with it, but never cuts a
 * number: mlx5 and mlx5_1 match mlx5_1, and neither mlx5_1 nor =mlx5 matches mlx5_10. After "="
 * only the whole name matches. If it contains * (any text) or ? (any character), the whole name
 * must match the pattern. PORT is a number; without it all ports match. "^" excludes what the item
 * matches; a list that begins with "^" excludes all of its items. A port is chosen from if an item
 * includes it, or there are no items that include, and no item excludes it.
 */
#ifndef HK_TRANSPORT_VERBS_CHOICE_H
#define HK_TRANSPORT_VERBS_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

/* A network: the first `bits` of an address. Equal networks are equal in all bytes. */
struct hk_ib_net {
	uint8_t family; /* AF_INET, AF_INET6, AF_IB for a subnet prefix, 0: unknown */
	uint8_t bits;
	uint8_t prefix[16];
};

void hk_ib_net_set(struct hk_ib_net *net, int family, const void *address, unsigned bits);
bool hk_ib_net_equal(const struct hk_ib_net *a, const struct hk_ib_net *b);

enum hk_ib_match {
	HK_IB_EXCLUDED = -2,
	HK_IB_UNNAMED = -1, /* nothing is included by name, and this is not excluded */
			    /* else the index of the item that includes it */
};
/* list NULL: no list. */
int hk_ib_match(const char *list, const char *device, unsigned port);

/* GIDs by how far they reach, best first. */
enum hk_ib_gid_kind {
	HK_IB_GID_V2_IPV4,
	HK_IB_GID_V2_IPV6,
	HK_IB_GID_V2_LOCAL, /* link-local, of either family */
	HK_IB_GID_V1,
	HK_IB_GID_NONE, /* zero */
};
/* Of an Ethernet port; v2: RoCE v2. */
enum hk_ib_gid_kind hk_ib_gid_kind(const uint8_t gid[16], bool v2);
const char *hk_ib_gid_kind_name(enum hk_ib_gid_kind kind);

struct hk_ib_gid {
	uint8_t raw[16];
	unsigned index; /* in the port's table */
	bool v2;
};
/* Which of n is best: of the best kind `keep` if it is there (NULL: nothing to keep), else the one
 * with the lowest index. -1: none can be used. */
int hk_ib_gid_choose(const struct hk_ib_gid *gids, unsigned n, const uint8_t *keep);

/* A port to choose from. */
struct hk_ib_candidate {
	const char *name; /* "mlx5_0:1" */
	int item;	  /* hk_ib_match's: HK_IB_UNNAMED or an index */
	bool ethernet, active;
	bool near;	/* on the process's NUMA node */
	unsigned gbits; /* 0: unknown */
	uint32_t model; /* ports of equal models are of one kind of device */
	struct hk_ib_net net;
	const char *why; /* out: why it is not a rail, NULL if it is one */
};

/*
 * Picks at most `most` of n candidates and returns how many; none if none is active. Their indexes
 * are written in an order that does not depend on which are up: near ones first, then as listed,
 * then by name.
 * - InfiniBand and Ethernet are never mixed: the one with more bandwidth.
 * - Of ports that nobody named, those slower than half of the fastest are left out.
 * - Near ports before others, then in the list's order, then faster ones, then by name (2 before
 * 10).
 * - Ports that are equally near are taken from their networks in turn; `turn` says with which port
 *   of a network to begin, so that processes with different turns share out what there is.
 * - Ports that are down are taken last, and only those that were named or are of an active one's
 * model.
 */
unsigned hk_ib_choose(struct hk_ib_candidate *c, unsigned n, unsigned turn, unsigned most,
		      unsigned *picks);

#endif
