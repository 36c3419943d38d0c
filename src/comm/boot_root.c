/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The root: a thread in the process that made the unique id. Every rank joins it with the addresses
 * where it listens; when all have come, each gets those of the ranks at distance 1, 2, 4 ... above
 * it, and the root is done. One poll loop serves all, so that no rank waits for another one's
 * network, let alone for a stranger's.
 *
 * The first to join says how many ranks there are. When a waiting rank's deadline comes, everyone
 * who waits learns which ranks never came. A rank that goes away while it waits gives its seat
 * back. After either end the root stays a moment, to tell latecomers what happened.
 */
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "param.h"

#define LINGER_NS      (1000 * HK_BOOT_MS)
#define FAIL_LINGER_NS (5000 * HK_BOOT_MS)
#define LEAVE_NS       (2000 * HK_BOOT_MS) /* most that sending a last frame may take */

enum { MOST_STRANGERS = 512 };

enum stage { SPEAKING, SEATED, LEAVING };

/* A process that has proved to know the secret. */
struct member {
	struct hk_session session;
	enum stage stage;
	uint32_t rank, nranks, timeout_ms;
	int64_t deadline; /* of the stage */
	unsigned slot;
	struct hk_contact contact;
	struct hk_reader reader;
	uint8_t in[HK_CONTACT_BYTES + HK_FRAME_OVER];
	struct hk_writer writer;
	uint8_t out[HK_CONTROL_MAX + HK_FRAME_OVER];
};

struct root {
	struct hk_boot_key key;
	struct hk_door door;
	struct hk_pollset polls;
	struct member **members;
	unsigned nmembers, cap;
	struct member **seats; /* by rank; NULL until the first joined */
	uint32_t nranks, taken;
	bool ended;
	int64_t deadline;	/* ended: close then. Else: give up then if nobody waits */
	char why[HK_BOOT_TEXT]; /* ended: for latecomers */
};

static void send_last(struct member *m, uint32_t type, const void *payload, uint32_t len)
{
	m->stage = LEAVING;
	m->deadline = hk_now_ns() + LEAVE_NS;
	/* There is room: it is the only frame that a member gets. */
	if (hk_frame_queue(&m->session, &m->writer, type, payload, len, NULL, 0))
		m->deadline = 0;
}

static void refuse(struct member *m, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void refuse(struct member *m, int code, const char *fmt, ...)
{
	char text[HK_BOOT_TEXT];
	uint8_t payload[4 + HK_BOOT_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hk_log(HK_LOG_INFO, "the root refuses rank %u: %s", m->rank, text);
	send_last(m, HK_FRAME_ERROR, payload, hk_boot_format_refusal(code, text, payload));
}

static void end(struct root *root, int64_t linger)
{
	root->ended = true;
	root->deadline = hk_now_ns() + linger;
}

/* The lowest round count with 2^rounds >= nranks. */
static unsigned rounds_of(uint32_t nranks)
{
	unsigned rounds = 0;

	while ((uint64_t)1 << rounds < nranks)
		rounds++;
	return rounds;
}

/* Everyone is here: introduce them to each other. */
static void introduce(struct root *root)
{
	unsigned rounds = rounds_of(root->nranks);

	for (uint32_t r = 0; r < root->nranks; r++) {
		const struct hk_contact *list[HK_BOOT_MAX_ROUNDS];
		uint8_t payload[HK_PARTNERS_BYTES];

		for (unsigned k = 0; k < rounds; k++)
			list[k] = &root->seats[(r + ((uint64_t)1 << k)) % root->nranks]->contact;
		send_last(root->seats[r], HK_FRAME_PARTNERS, payload,
			  hk_boot_format_partners(list, rounds, payload));
	}
	snprintf(root->why, sizeof(root->why),
		 "all %u ranks of this unique id have joined already: a second process was "
		 "started with the same rank, or the id was used twice",
		 root->nranks);
	end(root, LINGER_NS);
}

/* A rank's deadline has come: without it the group cannot be, so tell all. */
static void give_up(struct root *root)
{
	uint8_t *missing = calloc(root->nranks, 1);
	char names[160] = "some ranks";

	for (uint32_t r = 0; missing && r < root->nranks; r++)
		missing[r] = !root->seats[r];
	if (missing)
		hk_boot_print_ranks(missing, root->nranks, names, sizeof(names));
	free(missing);
	snprintf(root->why, sizeof(root->why),
		 "%s never came (%u of %u are here): were they started, with this unique id, and "
		 "can their hosts reach the root? HOCKET_INIT_TIMEOUT_MS sets the deadline",
		 names, root->taken, root->nranks);
	for (uint32_t r = 0; r < root->nranks; r++)
		if (root->seats[r])
			refuse(root->seats[r], -ETIMEDOUT, "%s", root->why);
	end(root, FAIL_LINGER_NS);
}

/* The member has said where it listens: give it its seat, or say why not. */
static void seat(struct root *root, struct member *m)
{
	if (root->ended) {
		refuse(m, -HK_EUSAGE, "%s", root->why);
		return;
	}
	if (!root->taken) {
		free(root->seats);
		root->seats = calloc(m->nranks, sizeof(struct member *));
		root->nranks = root->seats ? m->nranks : 0;
		if (!root->seats) {
			refuse(m, -ENOMEM, "the root has no memory for %u ranks", m->nranks);
			return;
		}
	}
	if (m->nranks != root->nranks) {
		refuse(m, -EINVAL,
		       "rank %u was started with %u ranks, but the ranks before it with %u: all "
		       "must pass the same number",
		       m->rank, m->nranks, root->nranks);
		return;
	}
	if (root->seats[m->rank]) {
		refuse(m, -EINVAL,
		       "rank %u of %u has joined already: two processes were started with the "
		       "same rank",
		       m->rank, m->nranks);
		return;
	}
	root->seats[m->rank] = m;
	m->stage = SEATED;
	/* Early enough for the sentence to arrive before the rank's own deadline. */
	m->deadline = hk_now_ns() + m->timeout_ms * HK_BOOT_MS -
		      (m->timeout_ms < 2000 ? m->timeout_ms / 8 : 250) * HK_BOOT_MS;
	if (++root->taken == root->nranks)
		introduce(root);
}

static void admit(struct root *root, const struct hk_guest *g)
{
	struct hk_session session = g->session;
	struct member *m = calloc(1, sizeof(*m));

	if (m && root->nmembers == root->cap) {
		unsigned cap = root->cap ? 2 * root->cap : 16;
		struct member **grown = realloc(root->members, cap * sizeof(struct member *));

		if (grown) {
			root->members = grown;
			root->cap = cap;
		}
	}
	if (!m || root->nmembers == root->cap) {
		hk_session_close(&session);
		free(m);
		return;
	}
	m->session = session;
	m->rank = g->hello.src;
	m->nranks = g->hello.nranks;
	m->timeout_ms = g->hello.timeout_ms;
	m->deadline = hk_now_ns() + HK_BOOT_HANDSHAKE_NS;
	m->reader = (struct hk_reader){.buf = m->in, .cap = sizeof(m->in), .fd = -1};
	m->writer = (struct hk_writer){.buf = m->out, .cap = sizeof(m->out)};
	m->slot = UINT32_MAX;
	root->members[root->nmembers++] = m;
}

static void forget(struct root *root, unsigned i)
{
	struct member *m = root->members[i];

	if (m->stage == SEATED) {
		hk_log(HK_LOG_INFO, "rank %u went away before all had come", m->rank);
		root->seats[m->rank] = NULL;
		root->taken--;
	}
	hk_session_close(&m->session);
	free(m);
	root->members[i] = root->members[--root->nmembers];
}

/* false: the member is to be forgotten. */
static bool work_member(struct root *root, struct member *m, short got)
{
	struct hk_frame f;
	int n;

	if (m->stage == LEAVING) {
		n = hk_frame_flush(&m->session, &m->writer);
		return n == 0 && hk_now_ns() < m->deadline;
	}
	if (!got)
		return m->stage != SPEAKING || hk_now_ns() < m->deadline;
	n = hk_frame_read(&m->session, &m->reader, &f);
	if (n == 0)
		return true;
	/* A seated rank has nothing to say: it went away, or makes no sense. */
	if (n < 0 || m->stage == SEATED || f.type != HK_FRAME_JOIN ||
	    hk_boot_parse_contact(f.payload, f.len, &m->contact))
		return false;
	seat(root, m);
	return true;
}

static int64_t next_deadline(const struct root *root)
{
	int64_t next = hk_door_deadline(&root->door);

	if ((root->ended || !root->taken) && root->deadline < next)
		next = root->deadline;
	for (unsigned i = 0; i < root->nmembers; i++)
		if (root->members[i]->deadline < next)
			next = root->members[i]->deadline;
	return next;
}

static bool seat_expired(const struct root *root)
{
	int64_t now = hk_now_ns();

	for (unsigned i = 0; i < root->nmembers; i++)
		if (root->members[i]->stage == SEATED && now >= root->members[i]->deadline)
			return true;
	return false;
}

static void watch(struct root *root)
{
	hk_door_watch(&root->door, &root->polls);
	for (unsigned i = 0; i < root->nmembers; i++) {
		struct member *m = root->members[i];

		m->slot = hk_poll_add(&root->polls, m->session.fd,
				      m->stage == LEAVING ? POLLOUT : POLLIN);
	}
}

static void *run(void *arg)
{
	struct root *root = arg;
	struct hk_guest guest;

	/* As long as somebody is here, or may still come. */
	while (root->nmembers || hk_now_ns() < root->deadline) {
		if (hk_poll_begin(&root->polls, hk_door_fds(&root->door) + root->nmembers))
			break;
		watch(root);
		hk_poll_wait(&root->polls, next_deadline(root));
		for (unsigned i = root->nmembers; i-- > 0;) {
			struct member *m = root->members[i];

			if (!work_member(root, m, hk_poll_got(&root->polls, m->slot)))
				forget(root, i);
		}
		hk_door_work(&root->door, &root->polls);
		while (hk_door_next(&root->door, &guest))
			admit(root, &guest);
		if (!root->ended && seat_expired(root))
			give_up(root);
	}
	while (root->nmembers)
		forget(root, root->nmembers - 1);
	hk_door_close(&root->door);
	free(root->members);
	free(root->seats);
	free(root->polls.fds);
	sodium_memzero(&root->key, sizeof(root->key));
	free(root);
	return NULL;
}

int hk_root_start(const struct hk_boot_id *id, const int *fds, unsigned count)
{
	struct root *root = calloc(1, sizeof(*root));
	int err;

	if (!root) {
		for (unsigned i = 0; i < count; i++) {
			int fd = fds[i];

			hk_net_close(&fd);
		}
		return hk_fail(ENOMEM, "no memory for the bootstrap's root");
	}
	hk_auth_key(id, &root->key);
	hk_door_init(&root->door, &root->key, HK_BOOT_ROOT, 1u << HK_FOR_JOIN, MOST_STRANGERS);
	for (unsigned i = 0; i < count; i++)
		hk_door_listen(&root->door, fds[i], false);
	root->deadline = hk_now_ns() + hk_param(HK_PARAM_INIT_TIMEOUT_MS) * HK_BOOT_MS;
	err = hk_net_thread(NULL, "hocket-root", run, root);
	if (err) {
		hk_door_close(&root->door);
		free(root);
	}
	return err;
}
