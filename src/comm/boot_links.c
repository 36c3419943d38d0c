/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Network interfaces: which of them to use, and the ways between two ranks.
 *
 * HOCKET_IFNAME is a list of the starts of names: "eth,ib" allows what begins so, "^docker,veth"
 * allows all but what begins so (a first ^ is for the whole list), "eth,^eth3" all that begins with
 * eth but eth3; "=eth1" is the whole name. Without it, bridges of container engines come last,
 * since other hosts cannot reach them. Loopback is always there, for the ranks of the same host.
 *
 * A way leads from one interface here to one there. Which interface of ours leads to an address of
 * the peer is the routing table's to say: a UDP socket that is connected, which sends nothing, gets
 * the source address. So two networks that are joined by routers count as well as one cable. Each
 * interface is in one way only, as two ways over one would share its bandwidth and its fate. Where
 * several interfaces are in one network, the table names the same one for all; those left
 * over are then paired, and sockets tied to them. Whether a way works shows when it is dialled.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "boot_internal.h"
#include "error.h"
#include "param.h"

/* A found address and how much we like it; lower is better. */
struct found {
	struct hk_boot_addr addr;
	unsigned order, index;
};

static bool read_addr(const struct sockaddr *sa, struct hk_boot_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		out->family = 4;
		memcpy(out->ip, &in.sin_addr, 4);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		/* Link-local addresses mean nothing without the interface. */
		if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr))
			return false;
		out->family = 6;
		memcpy(out->ip, &in6.sin6_addr, 16);
		return true;
	}
	return false;
}

static bool is_bridge(const char *name)
{
	return !strncmp(name, "docker", 6) || !strncmp(name, "virbr", 5) ||
	       !strncmp(name, "br-", 3) || !strncmp(name, "cni", 3) || !strncmp(name, "lxc", 3);
}

/* Whether an entry of the list, of so many characters, means the name. */
static bool means(const char *entry, size_t len, const char *name)
{
	if (len && *entry == '=')
		return strlen(name) == len - 1 && !strncmp(name, entry + 1, len - 1);
	return len && !strncmp(name, entry, len);
}

/* Whether HOCKET_IFNAME's list allows the interface. */
static bool allows(const char *list, const char *name)
{
	bool inverted = *list == '^', allowed = inverted, named = false;

	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ",");
		bool excludes = *p == '^';

		if (!inverted && !excludes)
			named = true;
		if (means(p + excludes, len - excludes, name)) {
			if (inverted || excludes)
				return false;
			allowed = true;
		}
		p += len + (p[len] == ',');
	}
	return allowed || (!inverted && !named);
}

static int by_order(const void *a, const void *b)
{
	const struct found *fa = a, *fb = b;

	return (fa->order > fb->order) - (fa->order < fb->order);
}

/* Numbers the interfaces by their first addresses. */
static void number_links(struct found *found, unsigned n)
{
	uint8_t next = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = 0;

		while (k < i && found[k].index != found[i].index)
			k++;
		found[i].addr.link = k < i ? found[k].addr.link : next++;
	}
}

int hk_links_find(struct hk_boot_addr list[HK_LINKS_MOST], unsigned *count)
{
	const char *names = hk_param_str(HK_PARAM_IFNAME);
	struct found found[HK_LINKS_MOST];
	unsigned n = 0, seen[2] = {0, 0};
	bool matched = !names;
	struct ifaddrs *all;

	if (getifaddrs(&all))
		return hk_fail(errno, "the network interfaces cannot be listed: %s",
			       strerror(errno));
	for (struct ifaddrs *i = all; i && n < HK_LINKS_MOST; i = i->ifa_next) {
		struct found *f = &found[n];
		bool loopback = i->ifa_flags & IFF_LOOPBACK, allowed;
		unsigned six;

		if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || !read_addr(i->ifa_addr, &f->addr))
			continue;
		six = f->addr.family == 6;
		if (loopback && !hk_net_is_loopback(&f->addr))
			continue;
		allowed = !names || allows(names, i->ifa_name);
		matched |= allowed;
		if (!allowed && !loopback)
			continue;
		/* The best of each family in turn, IPv4 first. */
		f->order = loopback ? 1000 + six : 2 * seen[six]++ + six;
		if (!loopback && !names && is_bridge(i->ifa_name))
			f->order += 100;
		f->index = if_nametoindex(i->ifa_name);
		n++;
	}
	freeifaddrs(all);
	if (!matched)
		return hk_fail(ENODEV,
			       "no network interface has an address and a name that "
			       "HOCKET_IFNAME=%s allows: correct it",
			       names);
	qsort(found, n, sizeof(*found), by_order);
	number_links(found, n);
	for (unsigned i = 0; i < n; i++)
		list[i] = found[i].addr;
	*count = n;
	return 0;
}

/* --- ways --- */

/* What we know of our own interfaces. */
struct own {
	const struct hk_contact *contact;
	struct ifaddrs *all;
};

static bool same_ip(const struct hk_boot_addr *a, const struct hk_boot_addr *b)
{
	return a->family == b->family && !memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16);
}

/* The own address that equals it, or NULL. */
static const struct hk_boot_addr *find_own(const struct own *own, const struct hk_boot_addr *a)
{
	for (unsigned i = 0; i < HK_CONTACT_ADDRS && own->contact->addr[i].family; i++)
		if (same_ip(&own->contact->addr[i], a))
			return &own->contact->addr[i];
	return NULL;
}

static const struct ifaddrs *find_interface(const struct own *own, const struct hk_boot_addr *a)
{
	struct hk_boot_addr other;

	for (const struct ifaddrs *i = own->all; i; i = i->ifa_next)
		if (i->ifa_addr && read_addr(i->ifa_addr, &other) && same_ip(&other, a))
			return i;
	return NULL;
}

/* The own address from which the routing table would send to `to`, or NULL. */
static const struct hk_boot_addr *find_source(const struct own *own, const struct hk_boot_addr *to)
{
	struct sockaddr_storage sa;
	struct hk_boot_addr source;
	socklen_t len = hk_net_sockaddr(to, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool known = fd >= 0 && !connect(fd, (struct sockaddr *)&sa, len);

	len = sizeof(sa);
	known = known && !getsockname(fd, (struct sockaddr *)&sa, &len) &&
		read_addr((struct sockaddr *)&sa, &source);
	hk_net_close(&fd);
	return known ? find_own(own, &source) : NULL;
}

/* Whether both are in the network of from's interface. */
static bool is_near(const struct own *own, const struct hk_boot_addr *from,
		    const struct hk_boot_addr *to)
{
	const struct ifaddrs *i = find_interface(own, from);
	struct hk_boot_addr mask;

	if (!i || from->family != to->family || !i->ifa_netmask ||
	    !read_addr(i->ifa_netmask, &mask) || mask.family != to->family)
		return false;
	for (unsigned k = 0; k < (to->family == 4 ? 4 : 16); k++)
		if ((from->ip[k] ^ to->ip[k]) & mask.ip[k])
			return false;
	return true;
}

/* Adds a pair of addresses to the way between their interfaces, or to a new one if neither has one.
 */
static void add(const struct own *own, struct hk_routes *routes, const struct hk_boot_addr *from,
		const struct hk_boot_addr *to)
{
	const struct ifaddrs *interface = find_interface(own, from);
	struct hk_route *r = routes->list;

	if (!interface || (!hk_param_str(HK_PARAM_IFNAME) && is_bridge(interface->ifa_name)))
		return;
	for (; r < routes->list + routes->n; r++) {
		bool here = r->from[0].link == from->link, there = r->to[0].link == to->link;

		if (here != there)
			return;
		if (here)
			break;
	}
	if (r == routes->list + HK_ROUTES || r->naddrs == HK_CONTACT_ADDRS)
		return;
	if (r == routes->list + routes->n) {
		snprintf(r->ifname, sizeof(r->ifname), "%s", interface->ifa_name);
		routes->n++;
	}
	for (unsigned i = 0; i < r->naddrs; i++)
		if (same_ip(&r->to[i], to))
			return;
	r->from[r->naddrs] = *from;
	r->from[r->naddrs].port = 0; /* any; this one listens */
	r->to[r->naddrs++] = *to;
}

static void find_routes(const struct own *own, const struct hk_contact *peer,
			struct hk_routes *routes)
{
	const struct hk_boot_addr *mine = own->contact->addr;

	for (unsigned i = 0; i < HK_CONTACT_ADDRS && peer->addr[i].family; i++) {
		const struct hk_boot_addr *to = &peer->addr[i], *from;

		/* An address of our own is not the peer's, or the peer is here, where all ways are
		 * one. */
		if (hk_net_is_loopback(to) || find_own(own, to))
			continue;
		from = find_source(own, to);
		if (from && !hk_net_is_loopback(from))
			add(own, routes, from, to);
	}
	for (unsigned i = 0; i < HK_CONTACT_ADDRS && peer->addr[i].family; i++)
		for (unsigned k = 0; k < HK_CONTACT_ADDRS && mine[k].family; k++)
			if (!hk_net_is_loopback(&peer->addr[i]) && !find_own(own, &peer->addr[i]) &&
			    is_near(own, &mine[k], &peer->addr[i]))
				add(own, routes, &mine[k], &peer->addr[i]);
}

void hk_links_routes(const struct hk_contact *self, const struct hk_contact *peer,
		     struct hk_routes *routes)
{
	struct own own = {.contact = self};

	memset(routes, 0, sizeof(*routes));
	if (self->host != peer->host && !getifaddrs(&own.all)) {
		find_routes(&own, peer, routes);
		freeifaddrs(own.all);
	}
	/* One way needs not be tied to an interface. */
	if (routes->n < 2) {
		memset(routes, 0, sizeof(*routes));
		routes->n = 1;
	}
}

void hk_links_peer(int fd, char out[HK_WAY])
{
	struct sockaddr_storage sa;
	struct hk_boot_addr addr;
	socklen_t len = sizeof(sa);

	snprintf(out, HK_WAY, "?");
	if (!getpeername(fd, (struct sockaddr *)&sa, &len) &&
	    read_addr((struct sockaddr *)&sa, &addr))
		inet_ntop(sa.ss_family, addr.ip, out, HK_WAY);
}

void hk_links_describe(int fd, const char *peer, char out[HK_WAY])
{
	char local[INET6_ADDRSTRLEN] = "?";
	const struct ifaddrs *i = NULL;
	struct sockaddr_storage sa;
	struct hk_boot_addr addr;
	socklen_t len = sizeof(sa);
	struct own own = {0};

	if (!getsockname(fd, (struct sockaddr *)&sa, &len) &&
	    read_addr((struct sockaddr *)&sa, &addr)) {
		inet_ntop(sa.ss_family, addr.ip, local, sizeof(local));
		if (!getifaddrs(&own.all))
			i = find_interface(&own, &addr);
	}
	snprintf(out, HK_WAY, "%s, %s to %s", i ? i->ifa_name : "interface", local, peer);
	if (own.all)
		freeifaddrs(own.all);
}
