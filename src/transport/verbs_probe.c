/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asks a port. State, LID, MTU and GIDs come from the device through libibverbs; speed, NUMA node
 * and the interface's MTU from sysfs; how long an address's network prefix is from the interface's
 * addresses. What the system does not tell is left unknown, never guessed.
 */
#include "verbs_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "error.h"
#include "ibv.h"
#include "param.h"

/* --- the system's files --- */

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(line, (int)size, f);

	if (f)
		fclose(f);
	return ok;
}

/* Speed as "100 Gb/sec (4X EDR)", whatever generations are yet to come. */
static unsigned read_gbits(const struct hk_ib_port *p)
{
	char path[IBV_SYSFS_PATH_MAX + 64], line[64];
	double rate;

	snprintf(path, sizeof(path), "%s/ports/%u/rate", p->ctx->device->ibdev_path, p->port);
	if (!read_line(path, line, sizeof(line)))
		return 0;
	rate = strtod(line, NULL);
	return rate > 0 && rate < 1e6 ? (unsigned)(rate + 0.999) : 0;
}

static int read_numa(const struct hk_ib_port *p)
{
	char path[IBV_SYSFS_PATH_MAX + 64], line[32];

	snprintf(path, sizeof(path), "%s/device/numa_node", p->ctx->device->ibdev_path);
	return read_line(path, line, sizeof(line)) ? atoi(line) : -1;
}

long hk_ib_netdev_number(const struct hk_ib_port *p, const char *name)
{
	char path[128], line[32];

	if (!*p->netdev)
		return -1;
	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", p->netdev, name);
	return read_line(path, line, sizeof(line)) ? strtol(line, NULL, 10) : -1;
}

/* --- the network that a port is on --- */

static unsigned prefix_bits(const struct sockaddr *mask)
{
	const uint8_t *bytes;
	unsigned n, bits = 0;

	if (mask->sa_family == AF_INET6) {
		bytes = ((const struct sockaddr_in6 *)mask)->sin6_addr.s6_addr;
		n = 16;
	} else {
		bytes = (const uint8_t *)&((const struct sockaddr_in *)mask)->sin_addr;
		n = 4;
	}
	while (bits < n * 8 && bytes[bits / 8] & 0x80 >> bits % 8)
		bits++;
	return bits;
}

/* The bytes of the interface address a if it is of the family, on the port's interface if that is
 * known, and equal to `wanted` if that is not NULL. */
static const void *address_of(const struct ifaddrs *a, const struct hk_ib_port *p, int family,
			      const void *wanted)
{
	const void *bytes;

	if (!a->ifa_addr || !a->ifa_netmask || a->ifa_addr->sa_family != family ||
	    (*p->netdev && strcmp(a->ifa_name, p->netdev)))
		return NULL;
	if (family == AF_INET)
		bytes = &((const struct sockaddr_in *)a->ifa_addr)->sin_addr;
	else
		bytes = &((const struct sockaddr_in6 *)a->ifa_addr)->sin6_addr;
	if (wanted && memcmp(bytes, wanted, family == AF_INET ? 4 : 16))
		return NULL;
	return bytes;
}

static void find_net(struct hk_ib_port *p, int family, const void *wanted)
{
	struct ifaddrs *list = NULL;

	if (getifaddrs(&list))
		return;
	for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
		const void *bytes = address_of(a, p, family, wanted);

		if (bytes) {
			hk_ib_net_set(&p->net, family, bytes, prefix_bits(a->ifa_netmask));
			break;
		}
	}
	freeifaddrs(list);
}

static void set_net(struct hk_ib_port *p)
{
	p->net = (struct hk_ib_net){0};
	if (p->iwarp)
		/* Its GIDs are MAC addresses. */
		find_net(p, AF_INET, NULL);
	else if (!p->roce)
		hk_ib_net_set(&p->net, AF_IB, p->gid.raw, 64);
	else if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)p->gid.raw))
		find_net(p, AF_INET, p->gid.raw + 12);
	else if (IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)p->gid.raw))
		/* Devices have one that need not be an address of the interface. */
		hk_ib_net_set(&p->net, AF_INET6, p->gid.raw, 64);
	else if (p->gid_index >= 0)
		find_net(p, AF_INET6, p->gid.raw);
}

/* --- GIDs --- */

/* All valid entries of the port. The caller frees *entries. */
static int read_gids(const struct hk_ib_port *p, struct ibv_gid_entry **entries, unsigned *n)
{
	struct ibv_device_attr device;
	struct ibv_gid_entry *all;
	unsigned room = 0, kept = 0;
	ssize_t got;

	memset(&device, 0, sizeof(device));
	if (hk_ibv()->query_device(p->ctx, &device))
		return -EIO;
	for (unsigned port = 1; port <= device.phys_port_cnt; port++) {
		struct ibv_port_attr attr;

		if (!hk_ibv()->query_port(p->ctx, (uint8_t)port, &attr) && attr.gid_tbl_len > 0)
			room += (unsigned)attr.gid_tbl_len;
	}
	all = calloc(room + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	got = hk_ibv()->query_gid_table(p->ctx, all, room + 1, 0);
	if (got < 0) {
		free(all);
		return (int)got;
	}
	for (ssize_t i = 0; i < got; i++)
		if (all[i].port_num == p->port)
			all[kept++] = all[i];
	*entries = all;
	*n = kept;
	return 0;
}

/* Which of n entries to use, or -1. */
static int choose_gid(const struct hk_ib_port *p, const struct ibv_gid_entry *entries, unsigned n)
{
	int64_t asked = hk_param(HK_PARAM_IB_GID_INDEX);
	struct hk_ib_gid *gids = calloc(n + 1, sizeof(*gids));
	int best;

	if (!gids)
		return -1;
	for (unsigned i = 0; i < n; i++) {
		gids[i].index = entries[i].gid_index;
		gids[i].v2 = entries[i].gid_type == IBV_GID_TYPE_ROCE_V2;
		if (asked < 0 || entries[i].gid_index == asked)
			memcpy(gids[i].raw, entries[i].gid.raw, sizeof(gids[i].raw));
	}
	best = hk_ib_gid_choose(gids, n, p->gid_index >= 0 ? p->gid.raw : NULL);
	free(gids);
	return best;
}

static void set_ethernet_gid(struct hk_ib_port *p, char why[HK_IB_WHY_BYTES])
{
	struct ibv_gid_entry *entries = NULL;
	unsigned n = 0;
	int at, err = read_gids(p, &entries, &n);

	p->roce_v2 = false;
	at = err ? -1 : choose_gid(p, entries, n);
	if (at >= 0) {
		p->gid = entries[at].gid;
		p->gid_index = (int)entries[at].gid_index;
		p->roce_v2 = entries[at].gid_type == IBV_GID_TYPE_ROCE_V2;
		*p->netdev = 0;
		if (!entries[at].ndev_ifindex ||
		    !if_indextoname(entries[at].ndev_ifindex, p->netdev))
			*p->netdev = 0;
	} else {
		p->gid_index = -1;
		memset(&p->gid, 0, sizeof(p->gid));
		if (err)
			snprintf(why, HK_IB_WHY_BYTES, "its GIDs can't be read: %s",
				 hk_code_name(err));
		else if (hk_param(HK_PARAM_IB_GID_INDEX) >= 0)
			snprintf(why, HK_IB_WHY_BYTES,
				 "its table of GIDs is empty at HOCKET_IB_GID_INDEX=%d "
				 "(show_gids or /sys/class/infiniband/*/ports/*/gids list it)",
				 (int)hk_param(HK_PARAM_IB_GID_INDEX));
		else
			snprintf(why, HK_IB_WHY_BYTES,
				 "it has no GID: give its network interface an IPv4 address");
	}
	free(entries);
}

/* InfiniBand: a GID is needed only to leave the subnet, or where the device wants one. */
static void set_infiniband_gid(struct hk_ib_port *p, const struct ibv_port_attr *attr,
			       char why[HK_IB_WHY_BYTES])
{
	int64_t asked = hk_param(HK_PARAM_IB_GID_INDEX);
	int index = asked < 0 ? 0 : (int)asked;
	static const union ibv_gid zero;

	p->global = asked >= 0 || attr->flags & IBV_QPF_GRH_REQUIRED;
	p->gid_index = p->global ? index : -1;
	if (hk_ibv()->query_gid(p->ctx, p->port, index, &p->gid))
		p->gid = zero;
	if (p->global && !memcmp(&p->gid, &zero, sizeof(zero)))
		snprintf(why, HK_IB_WHY_BYTES, "its table of GIDs is empty at index %d%s", index,
			 asked >= 0 ? " (HOCKET_IB_GID_INDEX)" : "");
}

/* --- partitions --- */

/* Full and limited members differ in the highest bit: an entry that is equal but for it serves if
 * no other does. */
static void set_pkey(struct hk_ib_port *p, unsigned entries, char why[HK_IB_WHY_BYTES])
{
	unsigned wanted = (unsigned)hk_param(HK_PARAM_IB_PKEY);
	int alike = -1;

	p->pkey_index = 0;
	if (!wanted || p->roce || p->iwarp)
		return;
	for (unsigned i = 0; i < entries; i++) {
		__be16 key = 0;

		if (hk_ibv()->query_pkey(p->ctx, p->port, (int)i, &key) || !key)
			continue;
		if (ntohs(key) == wanted) {
			p->pkey_index = (uint16_t)i;
			return;
		}
		if (alike < 0 && (ntohs(key) & 0x7fff) == (wanted & 0x7fff))
			alike = (int)i;
	}
	if (alike >= 0)
		p->pkey_index = (uint16_t)alike;
	else
		snprintf(why, HK_IB_WHY_BYTES,
			 "it is not in partition 0x%04x (HOCKET_IB_PKEY; "
			 "/sys/class/infiniband/*/ports/*/pkeys lists its own)",
			 wanted);
}

/* --- all together --- */

static void explain_state(const struct hk_ib_port *p, enum ibv_port_state state,
			  char why[HK_IB_WHY_BYTES])
{
	if (state == IBV_PORT_INIT || state == IBV_PORT_ARMED)
		snprintf(why, HK_IB_WHY_BYTES,
			 "its link is up but not configured (%s): is a subnet manager running?",
			 hk_ibv()->port_state_str(state));
	else
		snprintf(why, HK_IB_WHY_BYTES,
			 "its link is %s: check its cable, its switch port and `%s%s`",
			 hk_ibv()->port_state_str(state), *p->netdev ? "ip link show " : "ibstat",
			 p->netdev);
}

int hk_ib_probe(struct hk_ib_port *p, char why[HK_IB_WHY_BYTES])
{
	struct ibv_port_attr attr;
	int err = hk_ibv()->query_port(p->ctx, p->port, &attr);

	*why = 0;
	if (err) {
		snprintf(why, HK_IB_WHY_BYTES, "it can't be asked: %s", hk_code_name(err));
		p->active = false;
		return err > 0 ? -err : err;
	}
	p->iwarp = p->ctx->device->transport_type == IBV_TRANSPORT_IWARP;
	p->roce = !p->iwarp && attr.link_layer == IBV_LINK_LAYER_ETHERNET;
	p->lid = attr.lid;
	p->mtu = attr.active_mtu;
	p->gbits = read_gbits(p);
	p->numa = read_numa(p);
	if (p->roce || p->iwarp) {
		p->global = true;
		set_ethernet_gid(p, why);
	} else {
		set_infiniband_gid(p, &attr, why);
	}
	set_net(p);
	set_pkey(p, attr.pkey_tbl_len, why);
	if (attr.state != IBV_PORT_ACTIVE)
		explain_state(p, attr.state, why);
	p->active = !*why;
	return 0;
}

enum hk_ib_gid_kind hk_ib_port_kind(const struct hk_ib_port *p)
{
	return hk_ib_gid_kind(p->gid.raw, p->roce_v2);
}

/* --- words --- */

static void gid_text(const struct hk_ib_port *p, char *text, size_t size)
{
	enum hk_ib_gid_kind kind = hk_ib_port_kind(p);
	char address[INET6_ADDRSTRLEN] = "";

	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)p->gid.raw))
		inet_ntop(AF_INET, p->gid.raw + 12, address, sizeof(address));
	else
		inet_ntop(AF_INET6, p->gid.raw, address, sizeof(address));
	if (p->iwarp)
		snprintf(text, size, "iWARP");
	else if (p->roce && p->gid_index >= 0)
		snprintf(text, size, "%s %s (GID %d)", hk_ib_gid_kind_name(kind), address,
			 p->gid_index);
	else if (p->roce)
		snprintf(text, size, "RoCE");
	else if (p->global)
		snprintf(text, size, "InfiniBand LID %u, GID %d %s", p->lid, p->gid_index, address);
	else
		snprintf(text, size, "InfiniBand LID %u", p->lid);
}

void hk_ib_port_text(const struct hk_ib_port *p, char *text, size_t size)
{
	char gid[128], numa[32] = "", speed[32] = "";

	gid_text(p, gid, sizeof(gid));
	if (p->numa >= 0)
		snprintf(numa, sizeof(numa), ", NUMA %d", p->numa);
	if (p->gbits)
		snprintf(speed, sizeof(speed), ", %u Gbit/s", p->gbits);
	snprintf(text, size, "%s%s%s, MTU %u%s%s, %s", gid, *p->netdev ? " on " : "", p->netdev,
		 128u << p->mtu, speed, numa, p->active ? "up" : "down");
}
