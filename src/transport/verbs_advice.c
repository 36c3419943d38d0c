/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The advice: packets smaller than they could be, rails that differ, addresses that do not reach
 * far, rails that are down, too little memory that may be locked.
 */
#include "verbs_advice.h"

#include <linux/capability.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "verbs_probe.h"

#define ENOUGH_LOCKED (64u << 20) /* bytes: some peers' slots, and a first large buffer */
#define ENOUGH_MTU    4200	  /* an Ethernet MTU that lets packets of 4096 bytes through */

struct listener {
	void (*say)(void *arg, const char *sentence);
	void *arg;
};

static void __attribute__((format(printf, 2, 3)))
tell(const struct listener *l, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	l->say(l->arg, text);
}

static unsigned mtu_bytes(const struct hk_ib_port *p)
{
	return 128u << p->mtu;
}

/* The first port for which it is true is told about; the remedy is the same for the others. */
static void advise_mtu(const struct listener *l, const struct hk_ib_port *ports, unsigned n)
{
	const struct hk_ib_port *small = NULL, *large = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (!ports[i].active)
			continue;
		if (!small || ports[i].mtu < small->mtu)
			small = &ports[i];
		if (!large || ports[i].mtu > large->mtu)
			large = &ports[i];
	}
	if (!small)
		return;
	if (small->mtu != large->mtu)
		tell(l,
		     "RDMA ports %s and %s move packets of different sizes (%u and %u bytes), and "
		     "%s is slowed down by it: set equal MTUs on their interfaces and switches",
		     large->name, small->name, mtu_bytes(large), mtu_bytes(small), small->name);
	else if (small->roce && small->mtu < IBV_MTU_4096) {
		long ethernet = hk_ib_netdev_number(small, "mtu");

		if (ethernet > 0 && ethernet < ENOUGH_MTU)
			tell(l,
			     "RDMA port %s moves packets of only %u bytes because the MTU of %s is "
			     "%ld: raise it to %d or more on all hosts and switches (ip link set "
			     "%s "
			     "mtu %d), which may well double the bandwidth",
			     small->name, mtu_bytes(small), small->netdev, ethernet, ENOUGH_MTU,
			     small->netdev, ENOUGH_MTU);
	}
}

static void advise_gid(const struct listener *l, const struct hk_ib_port *ports, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		enum hk_ib_gid_kind kind = hk_ib_port_kind(&ports[i]);

		if (!ports[i].roce || ports[i].gid_index < 0 || kind == HK_IB_GID_V2_IPV4 ||
		    kind == HK_IB_GID_V2_IPV6)
			continue;
		tell(l,
		     "RDMA port %s has no global address (its best GID is %s) and can't be reached "
		     "through a router: give %s an IPv4 address",
		     ports[i].name, hk_ib_gid_kind_name(kind),
		     *ports[i].netdev ? ports[i].netdev : "its network interface");
		return;
	}
}

static void advise_down(const struct listener *l, const struct hk_ib_port *ports, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!ports[i].active)
			tell(l,
			     "RDMA port %s is down; the job goes on over the other rails and uses "
			     "it once it is up: check its cable, its switch port and `ip link show "
			     "%s`",
			     ports[i].name, ports[i].netdev);
}

/* A process with CAP_IPC_LOCK may lock what it wants. */
static bool may_lock_anything(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	return !syscall(SYS_capget, &header, data) && data[0].effective >> CAP_IPC_LOCK & 1;
}

static void advise_lock(const struct listener *l)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur >= ENOUGH_LOCKED ||
	    may_lock_anything())
		return;
	tell(l,
	     "only %llu KiB of memory may be locked, and RDMA locks what it moves; buffers may "
	     "fail "
	     "to be registered: raise `ulimit -l` (memlock in /etc/security/limits.conf, "
	     "LimitMEMLOCK= of the launcher's service, --ulimit memlock=-1 of a container)",
	     (unsigned long long)limit.rlim_cur >> 10);
}

void hk_ib_advise(const struct hk_ib_port *ports, unsigned n,
		  void (*say)(void *arg, const char *sentence), void *arg)
{
	struct listener l = {say, arg};

	if (!n)
		return;
	advise_down(&l, ports, n);
	advise_mtu(&l, ports, n);
	advise_gid(&l, ports, n);
	advise_lock(&l);
}
