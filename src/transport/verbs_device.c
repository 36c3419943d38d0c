/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Discovery: a scan opens every device that HOCKET_IB_HCA does not exclude and probes its ports
 * (verbs_probe.c); choosing (verbs_choice.c) makes rails of some; the devices of the others are
 * closed again. `hocket doctor` prints the same scan with the reason for each port.
 */
#include "verbs_device.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "error.h"
#include "ibv.h"
#include "param.h"
#include "topo.h"
#include "verbs_advice.h"
#include "verbs_probe.h"

#define RXE_VENDOR 0xffffffu /* as the devices of the kernel drivers rxe ... */
#define SIW_VENDOR 0x626d74u /* ... and siw say */
#define MANY	   64	     /* ports that a scan finds room for */

struct found {
	struct hk_ib_port port; /* ctx NULL: the device could not be opened, or was not to be */
	bool usable;		/* may be chosen from; else why says why not */
	bool excluded;		/* by HOCKET_IB_HCA */
	char why[HK_IB_WHY_BYTES];
	uint32_t model;
	int item;
};

struct scan {
	struct found found[MANY];
	unsigned n;
	bool devices; /* the machine has some, of whatever use */
	/* What choosing made of it. */
	unsigned rails[MANY], nrails;
};

static const char *asked_list(void)
{
	return hk_param_str(HK_PARAM_IB_HCA);
}

static struct found *add(struct scan *s, const char *device, unsigned port)
{
	struct found *f = s->n < MANY ? &s->found[s->n++] : NULL;

	if (!f)
		return NULL;
	memset(f, 0, sizeof(*f));
	f->port.gid_index = f->port.numa = -1;
	f->port.port = (uint8_t)port;
	if (port)
		snprintf(f->port.name, sizeof(f->port.name), "%s:%u", device, port);
	else
		snprintf(f->port.name, sizeof(f->port.name), "%s", device);
	return f;
}

/* Whether no port that a device may have is to be looked at. */
static bool is_excluded(const char *device)
{
	for (unsigned port = 1; port <= 16; port++)
		if (hk_ib_match(asked_list(), device, port) != HK_IB_EXCLUDED)
			return false;
	return true;
}

/* A device that is not opened, and why. */
static void add_useless(struct scan *s, const char *device, const char *why)
{
	struct found *f = add(s, device, 0);

	if (!f)
		return;
	f->excluded = is_excluded(device);
	snprintf(f->why, sizeof(f->why), "%s", why);
}

/* Why the device can't serve whatever its ports are, or NULL. */
static const char *unfit(const struct ibv_device *device)
{
	const char *cm = hk_param_str(HK_PARAM_IB_CM);

	if (is_excluded(device->name))
		return "excluded by HOCKET_IB_HCA";
	if (device->transport_type == IBV_TRANSPORT_IB)
		return NULL;
	if (device->transport_type != IBV_TRANSPORT_IWARP)
		return "it has no reliable connections (neither InfiniBand, RoCE nor iWARP)";
	if (!cm || strcmp(cm, "rdmacm"))
		return "iWARP is connected by the rdmacm alone: set HOCKET_IB_CM=rdmacm";
	return NULL;
}

/* The ports of an open device; returns how many keep it open. */
static unsigned scan_ports(struct scan *s, struct ibv_context *ctx)
{
	const char *name = ctx->device->name;
	struct ibv_device_attr attr;
	unsigned users = 0;

	memset(&attr, 0, sizeof(attr));
	if (hk_ibv()->query_device(ctx, &attr)) {
		add_useless(s, name, "it can't be asked about itself");
		return 0;
	}
	for (unsigned port = 1; port <= attr.phys_port_cnt; port++) {
		struct found *f = add(s, name, port);

		if (!f)
			break;
		f->item = hk_ib_match(asked_list(), name, port);
		f->model = attr.vendor_id << 16 ^ attr.vendor_part_id;
		f->port.ctx = ctx;
		f->port.soft = attr.vendor_id == RXE_VENDOR || attr.vendor_id == SIW_VENDOR;
		f->excluded = f->item == HK_IB_EXCLUDED;
		f->usable = !hk_ib_probe(&f->port, f->why) && !f->excluded;
		if (f->excluded)
			snprintf(f->why, sizeof(f->why), "excluded by HOCKET_IB_HCA");
		users++;
	}
	return users;
}

static void scan_device(struct scan *s, struct ibv_device *device)
{
	const char *why = unfit(device);
	struct ibv_context *ctx;
	char text[HK_IB_WHY_BYTES];

	if (why) {
		add_useless(s, device->name, why);
		return;
	}
	ctx = hk_ibv()->open_device(device);
	if (!ctx) {
		snprintf(text, sizeof(text),
			 "it can't be opened: %s (may this user write /dev/infiniband/%s?)",
			 hk_code_name(errno), device->dev_name);
		add_useless(s, device->name, text);
	} else if (!scan_ports(s, ctx)) {
		hk_ibv()->close_device(ctx);
	}
}

/* The NUMA node that this process runs on; asked only where the devices are on several, as it takes
 * milliseconds. */
static int own_numa(const struct scan *s)
{
	struct hk_host host;
	int seen = -1;

	for (unsigned i = 0; i < s->n; i++) {
		int numa = s->found[i].port.numa;

		if (seen >= 0 && numa >= 0 && numa != seen) {
			hk_topo_host(&host);
			return host.numa;
		}
		if (numa >= 0)
			seen = numa;
	}
	return seen;
}

static void choose(struct scan *s, unsigned turn, unsigned most)
{
	struct hk_ib_candidate c[MANY];
	unsigned at[MANY], n = 0;
	int numa = own_numa(s);

	for (unsigned i = 0; i < s->n; i++) {
		const struct found *f = &s->found[i];

		if (!f->usable)
			continue;
		at[n] = i;
		c[n++] = (struct hk_ib_candidate){
			.name = f->port.name,
			.item = f->item,
			.ethernet = f->port.roce || f->port.iwarp,
			.active = f->port.active,
			.near = numa < 0 || f->port.numa < 0 || f->port.numa == numa,
			.gbits = f->port.gbits,
			.model = f->model,
			.net = f->port.net,
		};
	}
	s->nrails = hk_ib_choose(c, n, turn, most < MANY ? most : MANY, s->rails);
	for (unsigned i = 0; i < s->nrails; i++)
		s->rails[i] = at[s->rails[i]];
	for (unsigned i = 0; i < n; i++) {
		struct found *f = &s->found[at[i]];

		/* What the probe found wrong says more than that others were better. */
		if (c[i].why && !*f->why)
			snprintf(f->why, sizeof(f->why), "%s", c[i].why);
		f->usable = !c[i].why;
	}
}

/* Looks at all devices and chooses. Without libibverbs, or the kernel's part of it, finds none. */
static void scan_all(struct scan *s, unsigned turn, unsigned most)
{
	int n = 0;
	struct ibv_device **list = hk_ibv() ? hk_ibv()->get_device_list(&n) : NULL;

	s->n = s->nrails = 0;
	s->devices = list && n > 0;
	for (int i = 0; list && i < n; i++)
		scan_device(s, list[i]);
	if (list)
		hk_ibv()->free_device_list(list);
	choose(s, turn, most);
}

/* Whether one of the first n ports has this context. */
static bool has_context(const struct hk_ib_port *ports, unsigned n, const struct ibv_context *ctx)
{
	while (n--)
		if (ports[n].ctx == ctx)
			return true;
	return false;
}

/* Closes every device that none of the n ports needs. */
static void close_others(struct scan *s, const struct hk_ib_port *ports, unsigned n)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct ibv_context *ctx = s->found[i].port.ctx;
		bool last = true;

		for (unsigned k = i + 1; k < s->n; k++)
			last &= s->found[k].port.ctx != ctx;
		if (ctx && last && !has_context(ports, n, ctx))
			hk_ibv()->close_device(ctx);
	}
}

/* Appends to the sentence; what does not fit is cut off. */
static void __attribute__((format(printf, 3, 4)))
append(char *text, size_t size, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + used, size - used, fmt, ap);
	va_end(ap);
}

/* Why none of the devices that were found can be used. */
static void explain_ports(const struct scan *s, char *text, size_t size)
{
	unsigned told = 0;

	append(text, size, "no RDMA port can be used:");
	for (unsigned i = 0; i < s->n; i++)
		if (!s->found[i].excluded)
			append(text, size, "%s %s: %s", told++ ? ";" : "", s->found[i].port.name,
			       s->found[i].why);
	if (told)
		return;
	append(text, size, " HOCKET_IB_HCA=%s leaves none of", asked_list() ? asked_list() : "");
	for (unsigned i = 0; i < s->n; i++)
		append(text, size, "%s %s", i ? "," : "", s->found[i].port.name);
}

/* The sentence for a machine on which there is no rail, recorded as this thread's error. */
static int nothing_found(const struct scan *s, unsigned turn)
{
	char text[400] = "";

	if (!hk_ibv())
		append(text, sizeof(text), "no RDMA: %s", hk_ibv_problem());
	else if (!s->devices)
		append(text, sizeof(text),
		       "no RDMA: this machine shows no device (`ibv_devices` lists them; is the "
		       "driver loaded, and is /dev/infiniband visible here?)");
	else
		explain_ports(s, text, sizeof(text));
	/* Who named devices wants to hear; of others only where there are any, and once a job. */
	hk_log(asked_list() || (s->devices && !turn) ? HK_LOG_WARN : HK_LOG_INFO, "%s", text);
	hk_set_last_error(text);
	return -ENOTSUP;
}

static void log_advice(void *arg, const char *sentence)
{
	const unsigned *turn = arg;

	hk_log(*turn ? HK_LOG_INFO : HK_LOG_WARN, "%s", sentence);
}

int hk_ib_open(unsigned turn, unsigned most, struct hk_ib_port *ports, unsigned *n)
{
	struct scan s;

	scan_all(&s, turn, most);
	for (unsigned i = 0; i < s.nrails; i++)
		ports[i] = s.found[s.rails[i]].port;
	close_others(&s, ports, s.nrails);
	if (!s.nrails)
		return nothing_found(&s, turn);
	for (unsigned i = 0; i < s.nrails && hk_log_enabled(HK_LOG_INFO); i++) {
		char text[256];

		hk_ib_port_text(&ports[i], text, sizeof(text));
		hk_log(HK_LOG_INFO, "verbs: rail %u is %s: %s", i, ports[i].name, text);
	}
	hk_ib_advise(ports, s.nrails, log_advice, &turn);
	*n = s.nrails;
	return 0;
}

void hk_ib_close(struct hk_ib_port *ports, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (ports[i].ctx && !has_context(ports, i, ports[i].ctx))
			hk_ibv()->close_device(ports[i].ctx);
	for (unsigned i = 0; i < n; i++)
		ports[i].ctx = NULL;
}

int hk_ib_refresh(struct hk_ib_port *port, unsigned *changed)
{
	struct hk_ib_port now = *port;
	char why[HK_IB_WHY_BYTES];
	int err = hk_ib_probe(&now, why);
	unsigned bits = 0;

	bits |= now.active != port->active ? HK_IB_STATE : 0;
	bits |= now.lid != port->lid ? HK_IB_LID : 0;
	bits |= now.mtu != port->mtu ? HK_IB_MTU : 0;
	bits |= now.gid_index != port->gid_index || memcmp(&now.gid, &port->gid, sizeof(now.gid))
			? HK_IB_GID
			: 0;
	if (bits && *why)
		hk_log(HK_LOG_INFO, "verbs: %s can't be used now: %s", port->name, why);
	*port = now;
	*changed = bits;
	return err;
}

static void print_advice(void *arg, const char *sentence)
{
	FILE *out = arg;

	fprintf(out, "  RDMA advice         %s\n", sentence);
}

void hk_ib_print(FILE *out)
{
	struct scan s;
	struct hk_ib_port rails[MANY];
	char label[96], text[256];

	scan_all(&s, 0, (unsigned)hk_param(HK_PARAM_IB_RAILS));
	if (!hk_ibv() || !s.devices)
		fprintf(out, "  RDMA devices        none%s%s\n", hk_ibv() ? "" : ": ",
			hk_ibv() ? "" : hk_ibv_problem());
	for (unsigned i = 0; i < s.n; i++) {
		const struct found *f = &s.found[i];
		const char *as = f->usable ? "a rail" : "no rail";

		snprintf(label, sizeof(label), "RDMA %s", f->port.name);
		*text = 0;
		if (f->port.ctx)
			hk_ib_port_text(&f->port, text, sizeof(text));
		fprintf(out, "  %-19s %s: %s%s%s\n", label, as, text, *text && *f->why ? "; " : "",
			f->why);
	}
	for (unsigned i = 0; i < s.nrails; i++)
		rails[i] = s.found[s.rails[i]].port;
	hk_ib_advise(rails, s.nrails, print_advice, out);
	close_others(&s, NULL, 0);
}
