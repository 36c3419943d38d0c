/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Published rates. Bandwidths are of data in one direction, after line coding:
 *
 * - PCI Express: base specifications; 2.5 and 5 GT/s with 8b/10b, 8 to 32 GT/s with 128b/130b,
 *   64 GT/s in flits of 256 bytes, of which 242 are data (6.0). Latency: data sheets of PCI
 *   switches give 100 to 150 ns from port to port.
 * - NVLink: NVIDIA's architecture papers, per link: 20 (P100), 25 (V100, A100, H100), 50 (B200).
 * - InfiniBand: IBTA's roadmap, 4 lanes: QDR 8b/10b, all later ones 64b/66b. Latency: one switch;
 *   data sheets give 90 ns (EDR) to 130 ns (HDR, NDR), the rest is cable and adapter.
 * - Ethernet: switches of data centres take 300 to 800 ns.
 * - Socket: UPI at 10.4 GT/s carries 20.8 GB/s a link (Intel Xeon Scalable), two of which join two
 *   packages; a hop adds about 70 ns to a load. machine.c knows more where the maker is known.
 * - Memory: eight channels of DDR4-3200 carry 204.8 GB/s (JEDEC); a half of it for a direction.
 * - xGMI: AMD CDNA 2 and 3 papers, 50 GB/s a link and more.
 */
#include "rates.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	double gbs, ns; /* what is assumed */
} kinds[HK_NLINKS] = {
	[HK_LINK_MEMORY] = {"memory", 102.4, 20},
	[HK_LINK_SOCKET] = {"socket", 41.6, 35},
	[HK_LINK_PCIE] = {"pcie", 15.753846, 150},
	[HK_LINK_NVLINK] = {"nvlink", 25, 200},
	[HK_LINK_XGMI] = {"xgmi", 50, 200},
	[HK_LINK_IB] = {"ib", 25, 300},
	[HK_LINK_ETHERNET] = {"ethernet", 12.5, 1000},
};

static const struct {
	uint8_t kind, gen;
	const char *name; /* of four lanes together, where people call it by a name */
	double lane_gbs;
} generations[] = {
	{HK_LINK_PCIE, 1, NULL, 0.25},
	{HK_LINK_PCIE, 2, NULL, 0.5},
	{HK_LINK_PCIE, 3, NULL, 8.0 * 128 / 130 / 8},
	{HK_LINK_PCIE, 4, NULL, 16.0 * 128 / 130 / 8},
	{HK_LINK_PCIE, 5, NULL, 32.0 * 128 / 130 / 8},
	{HK_LINK_PCIE, 6, NULL, 64.0 * 242 / 256 / 8},
	{HK_LINK_NVLINK, 1, NULL, 20},
	{HK_LINK_NVLINK, 2, NULL, 25},
	{HK_LINK_NVLINK, 3, NULL, 25},
	{HK_LINK_NVLINK, 4, NULL, 25},
	{HK_LINK_NVLINK, 5, NULL, 50},
	{HK_LINK_IB, 3, "qdr", 1},
	{HK_LINK_IB, 4, "fdr", 14.0625 * 64 / 66 / 8},
	{HK_LINK_IB, 5, "edr", 25.0 / 8},
	{HK_LINK_IB, 6, "hdr", 50.0 / 8},
	{HK_LINK_IB, 7, "ndr", 100.0 / 8},
	{HK_LINK_IB, 8, "xdr", 200.0 / 8},
};
#define NGENERATIONS (sizeof(generations) / sizeof(generations[0]))

const char *hk_link_name(enum hk_link_kind kind)
{
	return kinds[kind].name;
}

int hk_link_find(const char *name)
{
	for (int i = 0; i < HK_NLINKS; i++)
		if (!strcmp(kinds[i].name, name))
			return i;
	return -1;
}

struct hk_rate hk_rate_default(enum hk_link_kind kind)
{
	return (struct hk_rate){.kind = (uint8_t)kind,
				.assumed = true,
				.gbs = kinds[kind].gbs,
				.ns = kinds[kind].ns};
}

/* A number, written in decimal, that ends where *end points then. */
static bool parse_number(const char *text, double *value, const char **end)
{
	char *stop;

	/* strtod also takes signs, hexadecimal, nan and inf, which nobody means. */
	if (!isdigit((unsigned char)text[0]) || (text[0] == '0' && (text[1] | 32) == 'x'))
		return false;
	*value = strtod(text, &stop);
	*end = stop;
	return isfinite(*value);
}

static const char *parse_generation(const char *word, struct hk_rate *rate)
{
	unsigned gen = 0, width = 4;
	char lanes[4] = "";
	int end = 0;

	for (size_t i = 0; i < NGENERATIONS; i++)
		if (generations[i].kind == rate->kind && generations[i].name &&
		    !strcmp(generations[i].name, word))
			gen = generations[i].gen;
	if (!gen && (!isdigit((unsigned char)*word) ||
		     sscanf(word, "%3ux%3[0-9]%n", &gen, lanes, &end) != 2 || word[end]))
		return "a bandwidth is a number with GB/s or Gb/s, or a known rate such as 4x16 or "
		       "hdr";
	if (*lanes)
		width = (unsigned)atoi(lanes);
	if (width < 1 || width > 64)
		return "a link has 1 to 64 lanes";
	for (size_t i = 0; i < NGENERATIONS; i++)
		if (generations[i].kind == rate->kind && generations[i].gen == gen) {
			rate->gen = (uint8_t)gen;
			rate->width = (uint8_t)width;
			rate->gbs = generations[i].lane_gbs * width;
			return NULL;
		}
	return "no such generation of this kind of link is known: give the bandwidth as a number "
	       "with GB/s or Gb/s";
}

const char *hk_rate_parse(const char *word, struct hk_rate *rate)
{
	struct hk_rate r = *rate;
	const char *end = "", *problem;
	double value = 0;

	r.assumed = *word == '~';
	r.gen = r.width = 0;
	word += r.assumed;
	if (parse_number(word, &value, &end) && (!strcmp(end, "GB/s") || !strcmp(end, "Gb/s"))) {
		r.gbs = end[1] == 'b' ? value / 8 : value;
	} else {
		problem = parse_generation(word, &r);
		if (problem)
			return problem;
	}
	if (!(r.gbs > 0) || r.gbs > HK_MAX_GBS)
		return "a bandwidth must be more than 0 and at most 1000000 GB/s";
	*rate = r;
	return NULL;
}

const char *hk_latency_parse(const char *word, double *ns)
{
	const char *end = "";
	double value = 0, unit;

	if (!parse_number(word, &value, &end))
		return "a latency is a number with ns or us";
	if (!strcmp(end, "ns"))
		unit = 1;
	else if (!strcmp(end, "us"))
		unit = 1000;
	else
		return "a latency is a number with ns or us";
	if (value * unit > HK_MAX_NS)
		return "a latency must be at most 1 s";
	*ns = value * unit;
	return NULL;
}

/* The shortest decimal that reads back as the same number. */
static void print_exactly(double value, char *text, size_t size)
{
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, size, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			return;
	}
}

const char *hk_rate_print(const struct hk_rate *rate, char *text, size_t size)
{
	char number[32];

	if (rate->gen) {
		snprintf(text, size, "%s%ux%u", rate->assumed ? "~" : "", rate->gen, rate->width);
		for (size_t i = 0; i < NGENERATIONS; i++)
			if (generations[i].kind == rate->kind && generations[i].gen == rate->gen &&
			    generations[i].name && rate->width == 4)
				snprintf(text, size, "%s%s", rate->assumed ? "~" : "",
					 generations[i].name);
		return text;
	}
	print_exactly(rate->gbs, number, sizeof(number));
	snprintf(text, size, "%s%sGB/s", rate->assumed ? "~" : "", number);
	return text;
}

const char *hk_latency_print(double ns, char *text, size_t size)
{
	char number[32];

	print_exactly(ns, number, sizeof(number));
	snprintf(text, size, "%sns", number);
	return text;
}
