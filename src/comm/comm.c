/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A communicator's life. Creation: join the bootstrap, open an endpoint of every transport,
 * exchange one record per rank, and settle from the records, which are equal everywhere, what all
 * ranks must agree on: which transport serves which pair, how crowded the cores are, what the cost
 * model assumes. Connections and plans are made when they are first used.
 */
#include "comm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "fabric.h"
#include "param.h"
#include "schedules.h"

#define SPIN_NS	   100000 /* default, where every rank has a core of its own */
#define CAUSE_NAPS 40	  /* of 5 ms each */

/* What every rank tells every other at creation. */
struct rank_record {
	uint64_t settings; /* hash of all that must be equal */
	uint64_t cpuset[HK_CPUSET_WORDS];
	uint32_t open; /* bit i: endpoint of transport i of the list is open */
	uint32_t slots, slot_bytes, channels;
	struct hk_seat seat;
	struct hk_addr addrs[HK_MAX_TRANSPORTS];
};

static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ull; /* FNV-1a */
	return h;
}

static uint64_t hash_settings(const struct hk_comm *c)
{
	const char *algo = c->config.algorithms;
	const char *transports = c->config.transports;
	const char *switches = c->config.switches;
	/* Switches have no windows, and know nothing of the ranks' limits for them. */
	uint64_t copy_bytes = c->config.fabric_ranks ? 0 : (uint64_t)c->config.copy_bytes;
	uint64_t numbers[] = {HOCKET_VERSION_CODE, c->config.channels, c->config.slots,
			      c->config.slot_bytes, copy_bytes};
	uint64_t h = hash_bytes(0xcbf29ce484222325ull, numbers, sizeof(numbers));
	uint64_t schedules = hk_comm_hash_schedules(c);

	h = hash_bytes(h, &schedules, sizeof(schedules));
	for (unsigned i = 0; i < hk_nalgos; i++)
		h = hash_bytes(h, hk_algos[i]->name, strlen(hk_algos[i]->name) + 1);
	h = hash_bytes(h, algo, strlen(algo) + 1);
	h = hash_bytes(h, switches ? switches : "", switches ? strlen(switches) + 1 : 1);
	return hash_bytes(h, transports, strlen(transports) + 1);
}

/* --- failure --- */

/* A transport that lost a peer may know less than the bootstrap, which names the rank that was
 * first to go; its word may be on the way. */
static int await_cause(struct hk_comm *c, int err)
{
	struct timespec nap = {0, 5000000};
	const char *text;

	for (int i = 0; i < CAUSE_NAPS; i++) {
		int cause = hk_boot_failed(c->boot, &text);

		if (cause) {
			hk_set_last_error(text);
			return cause;
		}
		nanosleep(&nap, NULL);
	}
	return err;
}

int hk_comm_fail(struct hk_comm *c, int err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	bool first;

	if (c->fabric) {
		err = hk_fabric_judge(c, err);
		if (err == -HK_ESWITCH)
			return err;
	}
	if (err == -HK_EPEER && !atomic_load(&c->failed))
		err = await_cause(c, err);

	pthread_mutex_lock(&lock);
	first = !atomic_load(&c->failed);
	if (first) {
		strncpy(c->error, hk_last_error(), sizeof(c->error) - 1);
		atomic_store(&c->failed, err);
	}
	pthread_mutex_unlock(&lock);
	if (first)
		hk_boot_abort(c->boot,
			      err); /* or those who wait for us would do so to their deadline */
	return err;
}

static void sever(struct hk_comm *c)
{
	if (c->severed)
		return;
	c->severed = true;
	hk_comm_hold(c);
	for (unsigned i = 0; i < c->nendpoints; i++)
		if (c->endpoints[i])
			c->endpoints[i]->transport->sever(c->endpoints[i]);
	hk_comm_let_go(c);
}

/* Only then, because peers that are told of the failure know more than by a broken connection. */
int hk_comm_fail_call(struct hk_comm *c, int err)
{
	err = hk_comm_fail(c, err);
	if (err != -HK_ESWITCH)
		sever(c);
	if (c->fabric)
		sever(c->fabric->peers);
	return err;
}

int hk_comm_check(struct hk_comm *c)
{
	int err = atomic_load_explicit(&c->failed, memory_order_acquire);
	const char *text;

	if (!err) {
		err = hk_boot_failed(c->boot, &text);
		if (!err)
			return 0;
		hk_set_last_error(text);
		return hk_comm_fail(c, err);
	}
	hk_set_last_error(c->error);
	return err;
}

static int watch_failed(struct hk_watch *w)
{
	struct hk_comm *c = ((struct hk_comm_watch *)w)->comm;
	const char *text;
	int err;

	if (atomic_load_explicit(&c->aborted, memory_order_relaxed))
		return hk_fail_quiet(HK_EABORT, "this process aborted the communicator");
	err = hk_boot_failed(c->boot, &text);
	if (err)
		hk_set_last_error(text);
	if (!err && c->fabric)
		err = hk_fabric_failed(c);
	return err;
}

/* --- transports --- */

/* The transports to try, in order: those that are named, or all. */
static int list_transports(const char *names, const struct hk_transport **list, unsigned *count)
{
	char copy[sizeof(((struct hk_config *)0)->transports)], *save = NULL;

	*count = 0;
	if (!*names) {
		for (unsigned i = 0; i < hk_ntransports && *count < HK_MAX_TRANSPORTS; i++)
			list[(*count)++] = hk_transports[i];
		return 0;
	}
	strcpy(copy, names);
	for (char *name = strtok_r(copy, ",", &save); name && *count < HK_MAX_TRANSPORTS;
	     name = strtok_r(NULL, ",", &save)) {
		list[*count] = hk_transport_find(name);
		if (!list[(*count)++])
			return hk_fail(EINVAL,
				       "HOCKET_TRANSPORTS names '%s', which is no transport; use "
				       "shm,verbs,tcp or some of them",
				       name);
	}
	return *count ? 0 : hk_fail(EINVAL, "HOCKET_TRANSPORTS names no transport");
}

/* Whether all messages stay within the host, in memory that ranks share. */
static bool is_near(const struct hk_comm *c, const struct hk_transport *const *list)
{
	const struct hk_transport *shm = hk_transport_find("shm");
	bool near = false;

	for (unsigned i = 0; i < c->nendpoints; i++)
		near |= list[i] == shm;
	for (int i = 1; i < c->nranks; i++)
		near &= hk_boot_host(c->boot, i) == hk_boot_host(c->boot, 0);
	return near;
}

/* Opens the endpoints; endpoints[i] is NULL where transport i is not to be had here. */
static int open_endpoints(struct hk_comm *c, const struct hk_transport *const *list,
			  struct rank_record *own)
{
	int ranks = c->config.fabric_ranks ? c->config.fabric_ranks : c->nranks;
	uint32_t stretch = c->binder.binder.stretch;
	struct hk_endpoint_env env = {.rank = c->rank,
				      .nranks = c->nranks,
				      .host = hk_boot_host(c->boot, c->rank),
				      .wire = hk_boot_wire(c->boot),
				      .channels = HK_MAX_CHANNELS,
				      .slots = c->config.slots,
				      .usual_bytes = c->config.slot_bytes,
				      .gpu = hk_gpu_exec_gpu(c->gpu)};
	unsigned open = 0;
	int err;

	if (!stretch)
		stretch = hk_plan_stretch(ranks, c->config.slot_bytes);
	env.slot_bytes = c->config.slot_bytes * stretch;
	for (unsigned i = 0; i < c->nendpoints; i++) {
		err = list[i]->open(&env, &c->endpoints[i], &own->addrs[i]);
		if (err && err != -ENOTSUP)
			return err;
		if (err)
			continue;
		own->open |= 1u << i;
		open++;
	}
	if (!open && c->nranks > 1)
		return hk_fail(ENOTSUP, "no transport of HOCKET_TRANSPORTS works between "
					"processes; use shm,verbs,tcp or some of them");
	return 0;
}

static int choose_via(struct hk_comm *c, const struct rank_record *records)
{
	for (int peer = 0; peer < c->nranks; peer++) {
		unsigned both = records[peer].open & records[c->rank].open, i;
		struct hk_cost cost = {0};

		if (peer == c->rank)
			continue;
		for (i = 0; i < c->nendpoints; i++)
			if ((both & 1u << i) &&
			    c->endpoints[i]->transport->reach(c->endpoints[i], peer,
							      &records[peer].addrs[i], &cost))
				break;
		if (i == c->nendpoints)
			return hk_fail(
				ENOTSUP,
				"no transport reaches rank %d; HOCKET_TRANSPORTS may exclude "
				"the one that would",
				peer);
		c->via[peer] = (uint8_t)i;
	}
	return 0;
}

/* --- agreement --- */

static int check_settings(const struct hk_comm *c, const struct rank_record *records)
{
	const struct rank_record *own = &records[c->rank];

	for (int i = 0; i < c->nranks; i++) {
		if (records[i].settings == own->settings)
			continue;
		return hk_fail(
			HK_EUSAGE,
			"rank %d has other settings than rank %d (here %u slots of %u bytes, "
			"%u channels; there %u of %u, %u; or another version, HOCKET_ALGO, "
			"HOCKET_TRANSPORTS, HOCKET_SWITCHES, files in HOCKET_SCHEDULES or "
			"topology); make them "
			"equal on all ranks",
			i, c->rank, own->slots, own->slot_bytes, own->channels, records[i].slots,
			records[i].slot_bytes, records[i].channels);
	}
	return 0;
}

/* The most ranks per processor on any host, counting the processors that its ranks may run on. */
static double crowding(const struct hk_comm *c, const struct rank_record *records)
{
	double most = 0;

	for (int i = 0; i < c->nranks; i++) {
		uint64_t all[HK_CPUSET_WORDS] = {0};
		unsigned ranks = 0, cpus = 0;

		for (int j = 0; j < c->nranks; j++) {
			if (hk_boot_host(c->boot, j) != hk_boot_host(c->boot, i))
				continue;
			if (j < i)
				break; /* this host has been counted */
			ranks++;
			for (unsigned w = 0; w < HK_CPUSET_WORDS; w++)
				all[w] |= records[j].cpuset[w];
		}
		for (unsigned w = 0; w < HK_CPUSET_WORDS; w++)
			cpus += (unsigned)__builtin_popcountll(all[w]);
		if (ranks && (double)ranks / (cpus ? cpus : 1) > most)
			most = (double)ranks / (cpus ? cpus : 1);
	}
	return most;
}

static void settle(struct hk_comm *c, const struct hk_host *host)
{
	int64_t spin_us = hk_param(HK_PARAM_SPIN_US), nt = hk_param(HK_PARAM_NT_BYTES);

	c->nt_bytes = nt >= 0 ? (size_t)nt : host->l3_bytes ? host->l3_bytes : 32u << 20;
	c->watch.watch = (struct hk_watch){.failed = watch_failed,
					   .timeout_ns = c->config.timeout_ns,
					   .spin_ns = spin_us >= 0 ? spin_us * 1000
						      : c->machine.ranks_per_core > 1 ? 0
										      : SPIN_NS,
					   .endpoints = c->waits};
	c->watch.comm = c;
}

static void take_seat(const struct hk_host *host, struct hk_seat *seat)
{
	const char *name = hk_param_str(HK_PARAM_HOST_ID);

	seat->package = host->package;
	seat->numa = host->numa;
	if (name)
		snprintf(seat->host_name, sizeof(seat->host_name), "%s", name);
	else if (gethostname(seat->host_name, sizeof(seat->host_name) - 1))
		seat->host_name[0] = 0;
}

static int lay_out(struct hk_comm *c, const struct rank_record *records)
{
	struct hk_seat *seats;
	int err;

	if (c->config.fabric_ranks)
		return hk_layout_create(c->nranks, 0, NULL, &c->layout);
	seats = calloc((size_t)c->nranks, sizeof(*seats));
	if (!seats)
		return hk_fail(ENOMEM, "no memory for the places of %d ranks", c->nranks);
	for (int i = 0; i < c->nranks; i++) {
		seats[i] = records[i].seat;
		seats[i].host_name[sizeof(seats[i].host_name) - 1] = 0; /* it came from afar */
	}
	err = hk_comm_place(c, seats);
	free(seats);
	return err;
}

static int agree(struct hk_comm *c)
{
	size_t n = (size_t)c->nranks;
	struct rank_record *records = calloc(n, sizeof(*records)), *own;
	const struct hk_transport *list[HK_MAX_TRANSPORTS];
	uint64_t topology = 0;
	struct hk_host host;
	int err = -ENOMEM;

	if (!records) {
		hk_fail(ENOMEM, "no memory for the records of %zu ranks", n);
		goto out;
	}
	/* Not sooner, so that the others are told. */
	err = hk_tune_check_names(c->config.algorithms);
	if (!err)
		err = list_transports(c->config.transports, list, &c->nendpoints);
	if (!err)
		err = hk_comm_open_gpu(c);
	if (!err)
		hk_config_settle(&c->config, is_near(c, list), c->ngpu_ranks > 0);
	if (!err && !c->config.fabric_ranks)
		err = hk_comm_hash_topology(&topology);
	if (!err && !c->config.fabric_ranks)
		err = hk_comm_load_schedules(c);
	if (err)
		goto out;
	hk_topo_host(&host);
	own = &records[c->rank];
	own->settings = hash_bytes(hash_settings(c), &topology, sizeof(topology));
	own->slots = c->config.slots;
	own->slot_bytes = c->config.slot_bytes;
	own->channels = c->config.channels;
	memcpy(own->cpuset, host.cpuset, sizeof(own->cpuset));
	take_seat(&host, &own->seat);
	err = open_endpoints(c, list, own);
	if (!err)
		err = hk_boot_allgather(c->boot, records, sizeof(*records));
	if (!err)
		err = check_settings(c, records);
	if (!err)
		err = choose_via(c, records);
	if (!err)
		err = hk_comm_agree_ways(c);
	if (err)
		goto out;
	for (unsigned i = 0; i < c->nendpoints; i++)
		for (size_t r = 0; r < n; r++)
			c->addrs[i * n + r] = records[r].addrs[i];
	err = lay_out(c, records);
	if (err)
		goto out;
	err = hk_comm_agree_costs(c, crowding(c, records));
	if (err)
		goto out;
	settle(c, &host);
	hk_boot_set_timeout(c->boot, c->config.timeout_ns);
	err = hk_comm_start_gpu(c);
	/* Allocating may wait for kernels; nobody's first may run before everybody has. */
	if (!err && c->ngpu_ranks)
		err = hk_boot_barrier(c->boot);
out:
	free(records);
	return err;
}

/* --- creation and destruction --- */

static int allocate(struct hk_comm *c)
{
	size_t n = (size_t)c->nranks, pairs = n * HK_MAX_CHANNELS;

	c->addrs = calloc(n * HK_MAX_TRANSPORTS, sizeof(*c->addrs));
	c->via = calloc(n, sizeof(*c->via));
	c->sends = calloc(pairs, sizeof(struct hk_send *));
	c->recvs = calloc(pairs, sizeof(struct hk_recv *));
	if (c->addrs && c->via && c->sends && c->recvs)
		return 0;
	return hk_fail(ENOMEM, "no memory for a communicator of %zu ranks", n);
}

int hk_comm_new(const struct hk_config *config, struct hk_comm **comm)
{
	struct hk_comm *c = calloc(1, sizeof(*c));

	if (!c)
		return hk_fail(ENOMEM, "out of memory for a communicator");
	c->config = *config;
	c->binder = (struct hk_comm_binder){{hk_comm_bind_send, hk_comm_bind_recv, 0}, c};
	*comm = c;
	return 0;
}

int hk_comm_join(struct hk_comm *c)
{
	int err;

	c->rank = hk_boot_rank(c->boot);
	c->nranks = hk_boot_nranks(c->boot);
	err = allocate(c);
	if (!err)
		err = hk_boot_join(c->boot);
	if (!err)
		err = agree(c);
	if (err)
		return err;
	hk_comm_init_means(c);
	hk_log(HK_LOG_INFO,
	       "rank %d of %d is ready: %.2f ranks per core, latency %.0f ns, deadline %.1f s",
	       c->rank, c->nranks, c->machine.ranks_per_core, c->machine.routes[0].latency_ns,
	       (double)c->config.timeout_ns / 1e9);
	/* Switches move host memory. */
	return c->config.fabric_ranks || c->ngpu_ranks ? 0 : hk_fabric_attach(c);
}

/* Whether there is something to wait for, and no reason not to. */
static bool may_wait(struct hk_comm *c, int64_t start)
{
	struct timespec nap = {0, 100000};

	if (atomic_load(&c->failed) || c->watch.watch.failed(&c->watch.watch))
		return false;
	if (hk_now_ns() - start >= c->config.timeout_ns) {
		hk_log(HK_LOG_WARN,
		       "rank %d ends its communicator although not all that it sent has been "
		       "taken, after %.1f s (HOCKET_TIMEOUT_MS): do all ranks receive what they "
		       "are sent?",
		       c->rank, (double)c->config.timeout_ns / 1e9);
		return false;
	}
	nanosleep(&nap, NULL);
	return true;
}

/* Both may end at once with messages that nobody will receive: so first the peers are told. */
void hk_comm_settle(struct hk_comm *c)
{
	size_t n = c->sends ? (size_t)c->nranks * HK_MAX_CHANNELS : 0;
	int64_t start = hk_now_ns();
	bool waits;

	if (c->gpu)
		hk_gpu_exec_drain(c->gpu);
	if (atomic_load(&c->failed) || !c->watch.watch.failed)
		return;
	hk_comm_hold(c);
	for (unsigned e = 0; e < c->nendpoints; e++)
		if (c->endpoints[e])
			c->endpoints[e]->transport->leave(c->endpoints[e]);
	hk_comm_let_go(c);
	if (c->gpu) {
		while (!hk_gpu_exec_settled(c->gpu) && may_wait(c, start))
			continue;
		return;
	}
	do {
		waits = false;
		for (size_t i = 0; i < n; i++)
			waits |= c->sends[i] && !c->sends[i]->ops->settle(c->sends[i]);
	} while (waits && may_wait(c, start));
}

void hk_comm_destroy(struct hk_comm *c)
{
	if (!c)
		return;
	hk_fabric_close(c);
	hk_comm_settle(c);
	if (c->gpu && atomic_load(&c->failed))
		sever(c);
	hk_log(HK_LOG_INFO,
	       "rank %d ends after %u calls: %llu messages and %llu bytes sent, %llu yields and "
	       "%llu "
	       "sleeps while it waited",
	       c->rank, c->sequence, (unsigned long long)c->stats.messages,
	       (unsigned long long)c->stats.bytes, (unsigned long long)c->stats.yields,
	       (unsigned long long)c->stats.sleeps);
	hk_comm_free_plans(c);
	hk_comm_free_schedules(c);
	hk_gpu_exec_close(c->gpu);
	for (unsigned i = 0; i < c->nendpoints; i++)
		if (c->endpoints[i])
			c->endpoints[i]->transport->close(c->endpoints[i]);
	hk_gpu_exec_release(c->gpu);
	hk_boot_close(c->boot);
	hk_tables_free(&c->tables);
	for (int i = 0; c->switch_addresses && c->switch_addresses[i]; i++)
		free(c->switch_addresses[i]);
	free(c->switch_addresses);
	hk_layout_free(c->layout);
	free(c->addrs);
	hk_comm_free_windows(c);
	hk_comm_free_regions(c);
	free(c->via);
	free(c->sends);
	free(c->recvs);
	free(c);
}

size_t hk_comm_memory(const struct hk_comm *c)
{
	size_t n = (size_t)c->nranks;
	size_t bytes = sizeof(*c) + hk_boot_memory(c->boot) +
		       n * HK_MAX_TRANSPORTS * sizeof(*c->addrs) +
		       n * HK_MAX_CHANNELS * 2 * sizeof(void *) + n;

	for (unsigned i = 0; i < c->nendpoints; i++)
		if (c->endpoints[i])
			bytes += c->endpoints[i]->transport->memory(c->endpoints[i]);
	return bytes + hk_comm_plans_memory(c) + hk_fabric_memory(c);
}
