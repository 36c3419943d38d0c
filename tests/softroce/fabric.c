/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults by the kernel's own interfaces: flags of a network card and membership of a bridge by
 * ioctl, loss by a netlink message that puts a netem queue in front of the card.
 */
#include "fabric.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_PACKETS 30000 /* as `rail` has it */

const char *const fabric_names[FABRIC_FAULTS] = {"down", "cut", "loss"};

static int control(unsigned long request, struct ifreq *r)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, request, r))
		err = -errno;
	close(fd);
	return err;
}

static int set_link(const char *card, bool up)
{
	struct ifreq r = {0};
	int err;

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", card);
	err = control(SIOCGIFFLAGS, &r);
	if (err)
		return err;
	r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	return control(SIOCSIFFLAGS, &r);
}

static int set_member(const char *bridge, const char *port, bool member)
{
	struct ifreq r = {0};

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", bridge);
	r.ifr_ifindex = (int)if_nametoindex(port);
	if (!r.ifr_ifindex)
		return -errno;
	return control(member ? SIOCBRADDIF : SIOCBRDELIF, &r);
}

struct request {
	struct nlmsghdr head;
	struct tcmsg tc;
	uint8_t attributes[128];
};

static void add(struct request *q, unsigned short type, const void *data, size_t bytes)
{
	struct rtattr *a = (struct rtattr *)((uint8_t *)q + NLMSG_ALIGN(q->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(bytes);
	memcpy(RTA_DATA(a), data, bytes);
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* Sends it, and returns what the kernel answers. */
static int ask(const struct request *q)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		uint8_t rest[256];
	} answer = {{0}, {0}, {0}};
	int err = 0;

	if (fd < 0)
		return -errno;
	if (send(fd, q, q->head.nlmsg_len, 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		err = -errno;
	else if (answer.head.nlmsg_type == NLMSG_ERROR)
		err = answer.err.error;
	close(fd);
	return err;
}

static int set_loss(const char *card, bool lossy)
{
	const struct tc_netem_qopt all = {.limit = QUEUE_PACKETS, .loss = UINT32_MAX};
	struct request q = {
		.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct tcmsg)),
			 .nlmsg_type = lossy ? RTM_NEWQDISC : RTM_DELQDISC,
			 .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK |
						   (lossy ? NLM_F_CREATE | NLM_F_REPLACE : 0))},
		.tc = {.tcm_family = AF_UNSPEC,
		       .tcm_ifindex = (int)if_nametoindex(card),
		       .tcm_parent = TC_H_ROOT},
	};

	if (!q.tc.tcm_ifindex)
		return -errno;
	if (lossy) {
		add(&q, TCA_KIND, "netem", sizeof("netem"));
		add(&q, TCA_OPTIONS, &all, sizeof(all));
	}
	return ask(&q);
}

int fabric_set(enum fabric_fault fault, unsigned rail, unsigned rank, bool broken)
{
	char card[IF_NAMESIZE], bridge[IF_NAMESIZE];

	snprintf(card, sizeof(card), "%c%u_%u", fault == FABRIC_CUT ? 'p' : 'n', rail, rank);
	snprintf(bridge, sizeof(bridge), "sw%u", rail);
	if (fault == FABRIC_CUT)
		return set_member(bridge, card, !broken);
	if (fault == FABRIC_LOSS)
		return set_loss(card, broken);
	return set_link(card, !broken);
}

long long fabric_packets(unsigned rail, unsigned rank)
{
	char path[96];
	long long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/infiniband/rxe%u_%u/ports/1/hw_counters/rcvd_pkts",
		 rail, rank);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%lld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}
