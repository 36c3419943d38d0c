/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layouts of all that other processes send during start-up, and the only code that reads such
 * bytes. Everything is little-endian and of fixed size or bounded; parsers are pure, so that a
 * fuzzer can call them (tests/comm/fuzz_boot.c), and refuse what no correct process sends.
 *
 *   id        "HKT1" | secret 32 | token 12 | count 4 | address slots 4 * 19
 *   slot      family 1 (0, 4 or 6) | port 2 | ip 16 (an IPv4 address in the first four)
 *   hello     "HKb1" | purpose 4 | src 4 | dst 4 | nranks 4 | tag 4 | timeout_ms 4 | nonce 32
 *   head      payload length 4 | type 4
 *   contact   host identity 8 | address slots 4 * 19 | name of the Unix socket 16
 *   join      contact | the ranks that the id serves: first 4 | count 4
 *   partners  count 4 | contacts
 *   wish      color 4 | key 4
 *   offer     code 4 | contact, zeroes unless the code is 0
 *   data      op 4 | bytes per entry 4 | round 4 | 0 0 0 0 | offset 8 | table bytes
 *   notice    kind 4 | rank 4 | code 4
 *   refusal   code 4 | sentence
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot_internal.h"
#include "error.h"

static const uint8_t id_magic[4] = {'H', 'K', 'T', '1'};
static const uint8_t hello_magic[4] = {'H', 'K', 'b', '1'};

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
	return p + bytes;
}

static uint8_t *put_bytes(uint8_t *p, const void *from, size_t bytes)
{
	memcpy(p, from, bytes);
	return p + bytes;
}

static uint64_t get(const uint8_t **p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(*p)[i] << (8 * i);
	*p += bytes;
	return v;
}

static void get_bytes(const uint8_t **p, void *to, size_t bytes)
{
	memcpy(to, *p, bytes);
	*p += bytes;
}

static uint8_t *put_addr(uint8_t *p, const struct hk_boot_addr *addr)
{
	p = put(p, addr->family, 1);
	p = put(p, addr->port, 2);
	return put_bytes(p, addr->ip, sizeof(addr->ip));
}

/* Of a list with used ones first: *ended is whether there was an unused one before. */
static int get_addr(const uint8_t **p, struct hk_boot_addr *addr, bool *ended)
{
	*addr = (struct hk_boot_addr){0};
	addr->family = (uint8_t)get(p, 1);
	addr->port = (uint16_t)get(p, 2);
	get_bytes(p, addr->ip, sizeof(addr->ip));
	if (addr->family != 0 && addr->family != 4 && addr->family != 6)
		return -HK_EWIRE;
	if ((addr->family != 0) != (addr->port != 0) || (addr->family && *ended))
		return -HK_EWIRE;
	*ended |= addr->family == 0;
	return 0;
}

void hk_boot_format_id(const struct hk_boot_id *id, uint8_t out[HK_ID_BYTES])
{
	uint8_t *p = put_bytes(out, id_magic, sizeof(id_magic));
	unsigned count = 0;

	while (count < HK_BOOT_ADDRS && id->addr[count].family)
		count++;
	p = put_bytes(p, id->secret, sizeof(id->secret));
	p = put_bytes(p, id->token, sizeof(id->token));
	p = put(p, count, 4);
	for (unsigned i = 0; i < HK_BOOT_ADDRS; i++)
		p = put_addr(p, &id->addr[i]);
}

int hk_boot_parse_id(const uint8_t *p, size_t n, struct hk_boot_id *id)
{
	struct hk_boot_id got;
	uint64_t count, used = 0;
	bool ended = false;

	if (n != HK_ID_BYTES || memcmp(p, id_magic, sizeof(id_magic)))
		return -EINVAL;
	p += sizeof(id_magic);
	get_bytes(&p, got.secret, sizeof(got.secret));
	get_bytes(&p, got.token, sizeof(got.token));
	count = get(&p, 4);
	for (unsigned i = 0; i < HK_BOOT_ADDRS; i++) {
		if (get_addr(&p, &got.addr[i], &ended))
			return -EINVAL;
		used += got.addr[i].family != 0;
	}
	if (!used || used != count)
		return -EINVAL;
	*id = got;
	return 0;
}

void hk_boot_format_hello(const struct hk_hello *h, uint8_t out[HK_HELLO_BODY])
{
	uint8_t *p = put_bytes(out, hello_magic, sizeof(hello_magic));

	p = put(p, h->purpose, 4);
	p = put(p, h->src, 4);
	p = put(p, h->dst, 4);
	p = put(p, h->nranks, 4);
	p = put(p, h->tag, 4);
	p = put(p, h->timeout_ms, 4);
	put_bytes(p, h->nonce, sizeof(h->nonce));
}

int hk_boot_parse_hello(const uint8_t *p, size_t n, struct hk_hello *h)
{
	struct hk_hello got;

	if (n < HK_HELLO_BODY || memcmp(p, hello_magic, sizeof(hello_magic)))
		return -HK_EWIRE;
	p += sizeof(hello_magic);
	got.purpose = (uint32_t)get(&p, 4);
	got.src = (uint32_t)get(&p, 4);
	got.dst = (uint32_t)get(&p, 4);
	got.nranks = (uint32_t)get(&p, 4);
	got.tag = (uint32_t)get(&p, 4);
	got.timeout_ms = (uint32_t)get(&p, 4);
	get_bytes(&p, got.nonce, sizeof(got.nonce));
	if (got.purpose < HK_FOR_JOIN || got.purpose > HK_FOR_SERVE)
		return -HK_EWIRE;
	if (got.nranks < 1 || got.nranks > HK_BOOT_MAX_RANKS || got.src >= got.nranks)
		return -HK_EWIRE;
	if (got.purpose == HK_FOR_JOIN || got.purpose == HK_FOR_SERVE ? got.dst != HK_BOOT_ROOT
								      : got.dst >= got.nranks)
		return -HK_EWIRE;
	*h = got;
	return 0;
}

void hk_boot_format_head(uint32_t type, uint32_t len, uint8_t out[HK_FRAME_HEAD])
{
	put(put(out, len, 4), type, 4);
}

int hk_boot_parse_head(const uint8_t *p, size_t n, uint32_t max, uint32_t *type, uint32_t *len)
{
	uint32_t got_len, got_type;

	if (n < HK_FRAME_HEAD)
		return -HK_EWIRE;
	got_len = (uint32_t)get(&p, 4);
	got_type = (uint32_t)get(&p, 4);
	if (got_type < HK_FRAME_OK || got_type > HK_FRAME_JOB || got_len > max)
		return -HK_EWIRE;
	if (got_type != HK_FRAME_DATA && got_len > HK_CONTROL_MAX)
		return -HK_EWIRE;
	*type = got_type;
	*len = got_len;
	return 0;
}

void hk_boot_format_contact(const struct hk_contact *c, uint8_t out[HK_CONTACT_BYTES])
{
	uint8_t *p = put(out, c->host, 8);

	for (unsigned i = 0; i < HK_CONTACT_ADDRS; i++)
		p = put(put_addr(p, &c->addr[i]), c->addr[i].link, 1);
	put_bytes(p, c->local, sizeof(c->local));
}

int hk_boot_parse_contact(const uint8_t *p, size_t n, struct hk_contact *c)
{
	struct hk_contact got;
	bool ended = false;

	if (n != HK_CONTACT_BYTES)
		return -HK_EWIRE;
	got.host = get(&p, 8);
	for (unsigned i = 0; i < HK_CONTACT_ADDRS; i++) {
		if (get_addr(&p, &got.addr[i], &ended))
			return -HK_EWIRE;
		got.addr[i].link = (uint8_t)get(&p, 1);
	}
	/* At least one. */
	if (!got.addr[0].family)
		return -HK_EWIRE;
	get_bytes(&p, got.local, sizeof(got.local));
	*c = got;
	return 0;
}

void hk_boot_format_join(const struct hk_join *j, uint8_t out[HK_JOIN_BYTES])
{
	uint8_t *p = out + HK_CONTACT_BYTES;

	hk_boot_format_contact(&j->contact, out);
	put(put(p, j->part.first, 4), j->part.count, 4);
}

int hk_boot_parse_join(const uint8_t *p, size_t n, uint32_t nranks, struct hk_join *j)
{
	struct hk_join got;

	if (n != HK_JOIN_BYTES || hk_boot_parse_contact(p, HK_CONTACT_BYTES, &got.contact))
		return -HK_EWIRE;
	p += HK_CONTACT_BYTES;
	got.part.first = (uint32_t)get(&p, 4);
	got.part.count = (uint32_t)get(&p, 4);
	if (got.part.first >= nranks || !got.part.count || got.part.count > nranks - got.part.first)
		return -HK_EWIRE;
	*j = got;
	return 0;
}

void hk_boot_format_wish(const struct hk_wish *c, uint8_t out[HK_WISH_BYTES])
{
	put(put(out, (uint32_t)c->color, 4), (uint32_t)c->key, 4);
}

void hk_boot_parse_wish(const uint8_t p[HK_WISH_BYTES], struct hk_wish *c)
{
	c->color = (int32_t)(uint32_t)get(&p, 4);
	c->key = (int32_t)(uint32_t)get(&p, 4);
}

void hk_boot_format_offer(const struct hk_offer *o, uint8_t out[HK_OFFER_BYTES])
{
	memset(out, 0, HK_OFFER_BYTES);
	put(out, (uint32_t)o->code, 4);
	if (!o->code)
		hk_boot_format_contact(&o->contact, out + 4);
}

int hk_boot_parse_offer(const uint8_t *p, size_t n, struct hk_offer *o)
{
	struct hk_offer got = {0};

	if (n != HK_OFFER_BYTES)
		return -HK_EWIRE;
	got.code = (int32_t)(uint32_t)get(&p, 4);
	if (got.code > 0 || got.code < -4095)
		return -HK_EWIRE;
	if (!got.code && hk_boot_parse_contact(p, HK_CONTACT_BYTES, &got.contact))
		return -HK_EWIRE;
	*o = got;
	return 0;
}

uint32_t hk_boot_format_partners(const struct hk_contact *const *list, unsigned count,
				 uint8_t out[HK_PARTNERS_BYTES])
{
	uint8_t *p = put(out, count, 4);

	for (unsigned i = 0; i < count; i++, p += HK_CONTACT_BYTES)
		hk_boot_format_contact(list[i], p);
	return (uint32_t)(p - out);
}

int hk_boot_parse_partners(const uint8_t *p, size_t n, unsigned expected,
			   struct hk_contact list[HK_BOOT_MAX_ROUNDS])
{
	struct hk_contact got[HK_BOOT_MAX_ROUNDS];

	if (n < 4 || expected > HK_BOOT_MAX_ROUNDS || get(&p, 4) != expected ||
	    n - 4 != (size_t)expected * HK_CONTACT_BYTES)
		return -HK_EWIRE;
	for (unsigned i = 0; i < expected; i++, p += HK_CONTACT_BYTES)
		if (hk_boot_parse_contact(p, HK_CONTACT_BYTES, &got[i]))
			return -HK_EWIRE;
	memcpy(list, got, expected * sizeof(got[0]));
	return 0;
}

void hk_boot_format_data(const struct hk_data *d, uint8_t out[HK_DATA_HEAD])
{
	uint8_t *p = put(put(put(out, d->op, 4), d->bytes, 4), d->round, 4);

	put(put(p, 0, 4), d->offset, 8);
}

int hk_boot_parse_data(const uint8_t *p, size_t n, struct hk_data *d)
{
	struct hk_data got;

	if (n < HK_DATA_HEAD || n > HK_DATA_HEAD + HK_DATA_CHUNK)
		return -HK_EWIRE;
	got.op = (uint32_t)get(&p, 4);
	got.bytes = (uint32_t)get(&p, 4);
	got.round = (uint32_t)get(&p, 4);
	if (got.bytes > HK_BOOT_MAX_ENTRY || got.round >= HK_BOOT_MAX_ROUNDS || get(&p, 4))
		return -HK_EWIRE;
	got.offset = get(&p, 8);
	if (got.offset > (uint64_t)HK_BOOT_MAX_RANKS * HK_BOOT_MAX_ENTRY)
		return -HK_EWIRE;
	*d = got;
	return 0;
}

void hk_boot_format_notice(const struct hk_notice *m, uint8_t out[HK_NOTICE_BYTES])
{
	put(put(put(out, m->kind, 4), m->origin, 4), (uint32_t)m->code, 4);
}

int hk_boot_parse_notice(const uint8_t *p, size_t n, uint32_t nranks, struct hk_notice *m)
{
	struct hk_notice got;

	if (n != HK_NOTICE_BYTES)
		return -HK_EWIRE;
	got.kind = (uint32_t)get(&p, 4);
	got.origin = (uint32_t)get(&p, 4);
	got.code = (int32_t)(uint32_t)get(&p, 4);
	if (got.kind < HK_NOTICE_DIED || got.kind > HK_NOTICE_LOST || got.origin >= nranks)
		return -HK_EWIRE;
	if (got.code > 0 || got.code < -4095)
		return -HK_EWIRE;
	*m = got;
	return 0;
}

uint32_t hk_boot_format_refusal(int code, const char *text, uint8_t out[4 + HK_BOOT_TEXT])
{
	size_t len = strnlen(text, HK_BOOT_TEXT - 1);

	put_bytes(put(out, (uint32_t)code, 4), text, len);
	return (uint32_t)(4 + len);
}

int hk_boot_parse_refusal(const uint8_t *p, size_t n, struct hk_refusal *r)
{
	int32_t code;

	if (n < 4 || n - 4 >= HK_BOOT_TEXT)
		return -HK_EWIRE;
	n -= 4;
	code = (int32_t)(uint32_t)get(&p, 4);
	if (code >= 0 || code < -4095)
		return -HK_EWIRE;
	r->code = code;
	/* It goes to a terminal: no control characters. */
	for (size_t i = 0; i < n; i++)
		r->text[i] = p[i] >= ' ' && p[i] < 127 ? (char)p[i] : '?';
	r->text[n] = 0;
	return 0;
}

void hk_boot_print_ranks(const uint8_t *mark, unsigned nranks, char *out, size_t size)
{
	enum { MOST = 8 };
	unsigned total = 0, shown = 0;
	size_t len;

	for (unsigned r = 0; r < nranks; r++)
		total += mark[r] != 0;
	len = (size_t)snprintf(out, size, total == 1 ? "rank" : "ranks");
	for (unsigned r = 0; r < nranks && shown < MOST; r++) {
		const char *between = shown == 0 ? " " : shown + 1 == total ? " and " : ", ";

		if (!mark[r])
			continue;
		if (len < size)
			len += (size_t)snprintf(out + len, size - len, "%s%u", between, r);
		shown++;
	}
	if (total > shown && len < size)
		snprintf(out + len, size - len, " and %u more", total - shown);
}
