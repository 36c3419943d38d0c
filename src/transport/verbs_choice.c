/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of verbs_choice.h. Choosing sorts the candidates once by preference, sets aside what
 * may not serve with the others, and then takes, nearness by nearness, one port of each network in
 * turn until there are enough.
 */
#include "verbs_choice.h"

#include <string.h>
#include <sys/socket.h>

#define MANY 64 /* ports that are looked at; a host has a dozen */

/* --- networks --- */

void hk_ib_net_set(struct hk_ib_net *net, int family, const void *address, unsigned bits)
{
	unsigned most = family == AF_INET ? 32 : 128;

	if (bits > most)
		bits = most;
	*net = (struct hk_ib_net){.family = (uint8_t)family, .bits = (uint8_t)bits};
	memcpy(net->prefix, address, (bits + 7) / 8);
	if (bits % 8)
		net->prefix[bits / 8] &= (uint8_t)(0xff00 >> bits % 8);
}

bool hk_ib_net_equal(const struct hk_ib_net *a, const struct hk_ib_net *b)
{
	return a->family == b->family && a->bits == b->bits &&
	       !memcmp(a->prefix, b->prefix, sizeof(a->prefix));
}

/* --- HOCKET_IB_HCA --- */

/* One item, without what surrounds it. */
struct item {
	const char *name;
	size_t length;
	long port; /* -1: any; -2: not a number, matches nothing */
	bool exact, excludes;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static long parse_port(const char *text, const char *end)
{
	long port = 0;

	if (text == end || end - text > 3)
		return -2;
	for (; text < end; text++) {
		if (!is_digit(*text))
			return -2;
		port = port * 10 + (*text - '0');
	}
	return port;
}

/* Takes the item at *list off; false at the end. */
static bool next_item(const char **list, struct item *item)
{
	const char *p = *list, *end, *colon;

	if (!*p)
		return false;
	end = p + strcspn(p, ",");
	*list = *end ? end + 1 : end;
	p += strspn(p, " ");
	*item = (struct item){.port = -1};
	for (; *p == '^' || *p == '=' || *p == ' '; p++) {
		item->excludes |= *p == '^';
		item->exact |= *p == '=';
	}
	while (end > p && end[-1] == ' ')
		end--;
	if (p > end)
		p = end;
	colon = memchr(p, ':', (size_t)(end - p));
	if (colon)
		item->port = parse_port(colon + 1, end);
	item->name = p;
	item->length = (size_t)((colon ? colon : end) - p);
	return true;
}

/* Whether all of text is what the pattern, of * and ?, stands for. On a mismatch the last * takes
 * one character more. */
static bool glob(const char *pattern, size_t length, const char *text)
{
	const char *end = pattern + length, *star = NULL, *retry = NULL;

	while (*text) {
		if (pattern < end && *pattern == '*') {
			star = ++pattern;
			retry = text;
		} else if (pattern < end && (*pattern == '?' || *pattern == *text)) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star;
			text = ++retry;
		} else {
			return false;
		}
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}

static bool item_matches(const struct item *item, const char *device, unsigned port)
{
	size_t n = item->length;

	if (!n || (item->port != -1 && item->port != (long)port))
		return false;
	if (memchr(item->name, '*', n) || memchr(item->name, '?', n))
		return glob(item->name, n, device);
	if (strncmp(item->name, device, n))
		return false;
	if (item->exact)
		return !device[n];
	return !(is_digit(device[n]) && is_digit(device[n - 1]));
}

int hk_ib_match(const char *list, const char *device, unsigned port)
{
	struct item item;
	bool all_exclude, any_includes = false;
	int found = HK_IB_UNNAMED;

	if (!list)
		return HK_IB_UNNAMED;
	all_exclude = list[strspn(list, " ")] == '^';
	for (int i = 0; next_item(&list, &item); i++) {
		bool excludes = item.excludes || all_exclude;

		any_includes |= !excludes && item.length;
		if (!item_matches(&item, device, port))
			continue;
		if (excludes)
			return HK_IB_EXCLUDED;
		if (found < 0)
			found = i;
	}
	return found < 0 && any_includes ? HK_IB_EXCLUDED : found;
}

/* --- GIDs --- */

enum hk_ib_gid_kind hk_ib_gid_kind(const uint8_t gid[16], bool v2)
{
	static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (!memcmp(gid, zero, sizeof(zero)))
		return HK_IB_GID_NONE;
	if (!v2)
		return HK_IB_GID_V1;
	if (!memcmp(gid, mapped, sizeof(mapped)))
		return gid[12] == 169 && gid[13] == 254 ? HK_IB_GID_V2_LOCAL : HK_IB_GID_V2_IPV4;
	return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80 ? HK_IB_GID_V2_LOCAL : HK_IB_GID_V2_IPV6;
}

const char *hk_ib_gid_kind_name(enum hk_ib_gid_kind kind)
{
	static const char *const names[] = {
		[HK_IB_GID_V2_IPV4] = "RoCE v2, IPv4",
		[HK_IB_GID_V2_IPV6] = "RoCE v2, IPv6",
		[HK_IB_GID_V2_LOCAL] = "RoCE v2, link-local",
		[HK_IB_GID_V1] = "RoCE v1",
		[HK_IB_GID_NONE] = "no GID",
	};

	return names[kind];
}

int hk_ib_gid_choose(const struct hk_ib_gid *gids, unsigned n, const uint8_t *keep)
{
	enum hk_ib_gid_kind best_kind = HK_IB_GID_NONE;
	int best = -1;

	for (unsigned i = 0; i < n; i++) {
		enum hk_ib_gid_kind kind = hk_ib_gid_kind(gids[i].raw, gids[i].v2);

		if (kind > best_kind || kind == HK_IB_GID_NONE)
			continue;
		if (kind < best_kind || (keep && !memcmp(gids[i].raw, keep, 16)) ||
		    (gids[i].index < gids[best].index &&
		     !(keep && !memcmp(gids[best].raw, keep, 16)))) {
			best = (int)i;
			best_kind = kind;
		}
	}
	return best;
}

/* --- ports --- */

/* Negative if a comes before b among rails. Neither state nor speed, which a dead link changes, has
 * a say: equal hosts shall have the same rails at the same places. */
static int compare_places(const struct hk_ib_candidate *a, const struct hk_ib_candidate *b)
{
	if (a->near != b->near)
		return a->near ? -1 : 1;
	if (a->item != b->item)
		return a->item < b->item ? -1 : 1;
	return strverscmp(a->name, b->name);
}

/* Negative if a is to be taken before b. */
static int compare(const struct hk_ib_candidate *a, const struct hk_ib_candidate *b)
{
	if (a->active != b->active)
		return a->active ? -1 : 1;
	if (a->near == b->near && a->item == b->item && a->gbits != b->gbits)
		return a->gbits > b->gbits ? -1 : 1;
	return compare_places(a, b);
}

static unsigned sort(const struct hk_ib_candidate *c, unsigned n, unsigned *order)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n && count < MANY; i++) {
		unsigned at = count++;

		for (; at && compare(&c[i], &c[order[at - 1]]) < 0; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	return count;
}

/* Whether the active Ethernet ports have more bandwidth together than those of InfiniBand. An
 * unknown speed counts as little, and of equals InfiniBand, made for this, is taken. */
static bool prefers_ethernet(const struct hk_ib_candidate *c, unsigned n)
{
	uint64_t sum[2] = {0, 0};

	for (unsigned i = 0; i < n; i++)
		if (c[i].active)
			sum[c[i].ethernet] += c[i].gbits ? c[i].gbits : 1;
	return sum[1] > sum[0];
}

static bool has_active_of_model(const struct hk_ib_candidate *c, unsigned n, uint32_t model)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i].active && !c[i].why && c[i].model == model)
			return true;
	return false;
}

/* Says why of everything that may not be a rail together with the rest. */
static void set_aside(struct hk_ib_candidate *c, unsigned n)
{
	bool ethernet = prefers_ethernet(c, n);
	unsigned fastest = 0;

	for (unsigned i = 0; i < n; i++) {
		c[i].why = NULL;
		if (c[i].ethernet != ethernet)
			c[i].why = ethernet ? "Ethernet ports have more bandwidth together, and "
					      "InfiniBand is not mixed with them"
					    : "InfiniBand ports have more bandwidth together, and "
					      "Ethernet is not mixed with them";
		else if (c[i].active && c[i].gbits > fastest)
			fastest = c[i].gbits;
	}
	for (unsigned i = 0; i < n; i++)
		if (!c[i].why && c[i].active && c[i].item < 0 && c[i].gbits &&
		    c[i].gbits * 2 < fastest)
			c[i].why = "slower than half of the fastest; HOCKET_IB_HCA can name it";
	for (unsigned i = 0; i < n; i++)
		if (!c[i].why && !c[i].active && c[i].item < 0 &&
		    !has_active_of_model(c, n, c[i].model))
			c[i].why = "its link is down, and no port of its kind is up";
}

/* The ports in order[from..to), equally near, by network; takes up to `room` of them, one network
 * after the other. Of a network's ports this process begins with the (turn * share)-th, where share
 * is what one process takes of a network. */
static unsigned take(const struct hk_ib_candidate *c, const unsigned *order, unsigned n,
		     unsigned turn, unsigned room, unsigned *picks)
{
	unsigned net[MANY], size[MANY] = {0}, nets = 0, taken = 0, share;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = 0;

		while (k < i && !hk_ib_net_equal(&c[order[k]].net, &c[order[i]].net))
			k++;
		net[i] = k < i ? net[k] : nets++;
		size[net[i]]++;
	}
	share = nets ? (room + nets - 1) / nets : 0;
	for (unsigned round = 0; taken < room && round < n; round++)
		for (unsigned k = 0; k < nets && taken < room; k++) {
			unsigned skip =
				round < size[k] ? (turn % size[k] * share + round) % size[k] : n;

			for (unsigned i = 0; i < n; i++)
				if (net[i] == k && !skip--)
					picks[taken++] = order[i];
		}
	return taken;
}

static void order_places(const struct hk_ib_candidate *c, unsigned *picks, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned at = i; at && compare_places(&c[picks[at]], &c[picks[at - 1]]) < 0;
		     at--) {
			unsigned swap = picks[at];

			picks[at] = picks[at - 1];
			picks[at - 1] = swap;
		}
}

unsigned hk_ib_choose(struct hk_ib_candidate *c, unsigned n, unsigned turn, unsigned most,
		      unsigned *picks)
{
	unsigned order[MANY], usable[MANY], nusable = 0, taken = 0;
	unsigned sorted = sort(c, n, order);

	set_aside(c, n);
	for (unsigned i = 0; i < sorted; i++)
		if (!c[order[i]].why)
			usable[nusable++] = order[i];
	for (unsigned i = 0; i < n; i++)
		if (!c[i].why)
			c[i].why = nusable && c[usable[0]].active
					   ? "there are enough; HOCKET_IB_RAILS allows more"
					   : "its link is down";
	if (!nusable || !c[usable[0]].active)
		return 0;
	for (unsigned from = 0, to; from < nusable && taken < most; from = to) {
		const struct hk_ib_candidate *first = &c[usable[from]];

		for (to = from; to < nusable && c[usable[to]].active == first->active &&
				c[usable[to]].near == first->near;)
			to++;
		taken += take(c, usable + from, to - from, first->active ? turn : 0, most - taken,
			      picks + taken);
	}
	order_places(c, picks, taken);
	for (unsigned i = 0; i < taken; i++)
		c[picks[i]].why = NULL;
	return taken;
}
