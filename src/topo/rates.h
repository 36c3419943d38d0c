/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kinds of links, and how fast they are: a rate is a number, or a generation and a width of its
 * kind ("pcie 4x16"), whose published bandwidth is in the table in rates.c. All bandwidths are GB/s
 * (10^9 bytes) of data in one direction, all latencies ns.
 */
#ifndef HK_TOPO_RATES_H
#define HK_TOPO_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hk_link_kind {
	HK_LINK_MEMORY, /* inside a package: cores, caches, memory */
	HK_LINK_SOCKET, /* between packages: UPI, xGMI of processors, ... */
	HK_LINK_PCIE,
	HK_LINK_NVLINK,
	HK_LINK_XGMI, /* between GPUs that are not NVIDIA's */
	HK_LINK_IB,
	HK_LINK_ETHERNET,
	HK_NLINKS,
};

struct hk_rate {
	uint8_t kind;
	/* The generation and the number of lanes or links; 0: only the bandwidth is known. */
	uint8_t gen, width;
	bool assumed; /* typical of its kind, not read from the machine or a file; printed with ~ */
	double gbs, ns;
};

#define HK_MAX_GBS 1e6
#define HK_MAX_NS  1e9

const char *hk_link_name(enum hk_link_kind kind);
/* The kind of that name, or -1. */
int hk_link_find(const char *name);
/* What is assumed of a link of which only the kind is known. */
struct hk_rate hk_rate_default(enum hk_link_kind kind);
/*
 * Reads a bandwidth as the text format writes it, such as 25GB/s, 200Gb/s, ~15.75GB/s, 4x16 or ndr,
 * into *rate (whose kind is set). NULL, or what is wrong with it.
 */
const char *hk_rate_parse(const char *word, struct hk_rate *rate);
/* Reads a latency such as 600ns or 1.5us. NULL, or what is wrong. */
const char *hk_latency_parse(const char *word, double *ns);
/* What the two above read, "4x16" and "150ns", exactly. Returns text. */
const char *hk_rate_print(const struct hk_rate *rate, char *text, size_t size);
const char *hk_latency_print(double ns, char *text, size_t size);

#endif
