/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A libFuzzer target for everything that the bootstrap reads from other processes: the first byte
 * chooses the parser, the rest is its input. What parses must survive a round trip through its
 * formatter, where it has one. Build with -Dfuzz=true and clang.
 */
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "job.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool fine)
{
	if (!fine)
		abort();
}

static void try_hello(const uint8_t *p, size_t n)
{
	uint8_t out[HK_HELLO_BODY];
	struct hk_hello h;

	if (hk_boot_parse_hello(p, n, &h))
		return;
	check(h.src < h.nranks);
	hk_boot_format_hello(&h, out);
	check(!memcmp(out, p, sizeof(out)));
}

static void try_contact(const uint8_t *p, size_t n)
{
	uint8_t out[HK_CONTACT_BYTES];
	struct hk_contact c;
	char text[200];

	if (hk_boot_parse_contact(p, n, &c))
		return;
	hk_net_print(c.addr, HK_CONTACT_ADDRS, text, sizeof(text));
	hk_boot_format_contact(&c, out);
	check(!memcmp(out, p, sizeof(out)));
}

static void try_join(const uint8_t *p, size_t n)
{
	uint8_t out[HK_JOIN_BYTES];
	struct hk_offer offer;
	struct hk_join j;

	if (!hk_boot_parse_join(p, n, 1000, &j)) {
		check(j.part.count && j.part.first + j.part.count <= 1000);
		hk_boot_format_join(&j, out);
		check(!memcmp(out, p, sizeof(out)));
	}
	if (!hk_boot_parse_offer(p, n, &offer))
		check(offer.code <= 0);
}

static void try_small(const uint8_t *p, size_t n)
{
	struct hk_refusal refusal;
	struct hk_notice notice;
	struct hk_data data;
	uint32_t type, len;

	if (!hk_boot_parse_head(p, n, 1000, &type, &len))
		check(len <= 1000);
	if (!hk_boot_parse_notice(p, n, 16, &notice))
		check(notice.origin < 16 && notice.code <= 0);
	if (!hk_boot_parse_data(p, n, &data))
		check(data.bytes <= HK_BOOT_MAX_ENTRY && data.round < HK_BOOT_MAX_ROUNDS);
	if (!hk_boot_parse_refusal(p, n, &refusal))
		check(refusal.code < 0 && strlen(refusal.text) < HK_BOOT_TEXT);
}

static void try_job(const uint8_t *p, size_t n)
{
	uint8_t out[HK_JOB_BODY];
	struct hk_job job;

	if (hk_job_parse(p, n, &job))
		return;
	check(job.index < job.nswitches && job.nranks >= 2);
	hk_job_format(&job, out);
	/* What follows the end of the transports' names is not kept. */
	check(!memcmp(out, p, sizeof(out) - HK_JOB_TRANSPORTS));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct hk_contact partners[HK_BOOT_MAX_ROUNDS];
	uint8_t out[HK_ID_BYTES];
	struct hk_boot_id id;

	if (n < 2)
		return 0;
	switch (p[0] % 7) {
	case 0:
		try_hello(p + 1, n - 1);
		break;
	case 1:
		try_contact(p + 1, n - 1);
		break;
	case 2:
		try_small(p + 1, n - 1);
		break;
	case 3:
		try_join(p + 1, n - 1);
		break;
	case 4:
		hk_boot_parse_partners(p + 2, n - 2, p[1], partners);
		break;
	case 6:
		try_job(p + 1, n - 1);
		break;
	default:
		if (hk_boot_parse_id(p + 1, n - 1, &id))
			break;
		hk_boot_format_id(&id, out);
		check(!memcmp(out, p + 1, sizeof(out)));
	}
	return 0;
}
