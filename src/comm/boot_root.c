/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The root: a thread in the process that made the unique id. The ranks that the id serves (all, or
 * one of several parts) take their seats here, with the addresses where they listen; ranks of other
 * parts come as askers, if they have partners in this one. When all seats are taken, everyone gets
 * the addresses of its partners here, the ranks at distance 1, 2, 4 ... above it, and the root is
 * done when all the askers that it expects have come. One poll loop serves all, so that no rank
 * waits for another one's network, let alone for a stranger's.
 *
 * The first to join says how many ranks there are, and which of them the id serves. Who
 * contradicts, or takes a seat that is taken, ends it for all: they are told at once what is wrong.
 * When a waiting rank's deadline comes, everyone who waits learns which ranks never came. A rank
 * that goes away while it waits gives its seat back. After any end the root stays a moment, to tell
 * latecomers what happened.
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
	bool asks; /* SEATED without a seat */
	struct hk_join join;
	struct hk_reader reader;
	uint8_t in[HK_JOIN_BYTES + HK_FRAME_OVER];
	struct hk_writer writer;
	uint8_t out[HK_CONTROL_MAX + HK_FRAME_OVER];
};

struct root {
	struct hk_boot_key key;
	struct hk_door door;
	struct hk_pollset polls;
	struct member **members;
	unsigned nmembers, cap;
	uint32_t nranks; /* 0 until the first joined */
	struct hk_part part;
	struct member **seats;	/* of the part */
	uint32_t taken, askers; /* members that are SEATED */
	bool ended, complete;
	struct hk_contact *contacts; /* complete: those of the part */
	uint8_t *expected;	     /* complete: by rank, the askers that have not come ... */
	uint32_t nexpected;	     /* ... and how many */
	int64_t latest;		     /* of the members' deadlines */
	int64_t deadline;	     /* ended: close then. Else: give up then if nobody waits */
	char why[HK_BOOT_TEXT];	     /* ended: for latecomers */
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

static bool serves(const struct root *root, uint32_t rank)
{
	return rank >= root->part.first && rank - root->part.first < root->part.count;
}

/* The contacts of rank's partners that have their seats here; how many. */
static unsigned find_partners(const struct root *root, uint32_t rank,
			      const struct hk_contact *list[HK_BOOT_MAX_ROUNDS])
{
	unsigned count = 0;

	for (uint64_t distance = 1; distance < root->nranks; distance *= 2) {
		uint32_t partner = (uint32_t)((rank + distance) % root->nranks);

		if (serves(root, partner))
			list[count++] = &root->contacts[partner - root->part.first];
	}
	return count;
}

static void tell_partners(struct root *root, struct member *m)
{
	const struct hk_contact *list[HK_BOOT_MAX_ROUNDS];
	uint8_t payload[HK_PARTNERS_BYTES];
	unsigned count = find_partners(root, m->rank, list);

	send_last(m, HK_FRAME_PARTNERS, payload, hk_boot_format_partners(list, count, payload));
	if (m->asks && root->expected[m->rank]) {
		root->expected[m->rank] = 0;
		root->nexpected--;
	}
	if (!root->nexpected)
		end(root, LINGER_NS);
}

/* Everyone who waits gets the same answer. */
static void dismiss_all(struct root *root, int code, struct member *last)
{
	for (unsigned i = 0; i < root->nmembers; i++)
		if (root->members[i]->stage == SEATED || root->members[i] == last)
			refuse(root->members[i], code, "%s", root->why);
	root->taken = root->askers = 0;
	end(root, FAIL_LINGER_NS);
}

/* All seats are taken: introduce the ranks to each other, and to those who asked. */
static void introduce(struct root *root)
{
	const struct hk_contact *list[HK_BOOT_MAX_ROUNDS];

	root->contacts = calloc(root->part.count, sizeof(*root->contacts));
	root->expected = calloc(root->nranks, 1);
	if (!root->contacts || !root->expected) {
		snprintf(root->why, sizeof(root->why), "the root has no memory for %u ranks",
			 root->nranks);
		dismiss_all(root, -ENOMEM, NULL);
		return;
	}
	for (uint32_t i = 0; i < root->part.count; i++)
		root->contacts[i] = root->seats[i]->join.contact;
	for (uint32_t r = 0; r < root->nranks; r++) {
		root->expected[r] = !serves(root, r) && find_partners(root, r, list);
		root->nexpected += root->expected[r];
	}
	snprintf(root->why, sizeof(root->why),
		 "all %u ranks of this unique id have joined already: a second process was "
		 "started with the same rank, or the id was used twice",
		 root->part.count);
	root->complete = true;
	/* Askers are expected until this. */
	end(root, root->latest - hk_now_ns());
	for (unsigned i = 0; i < root->nmembers; i++)
		if (root->members[i]->stage == SEATED)
			tell_partners(root, root->members[i]);
	root->taken = root->askers = 0;
}

/* A rank's deadline has come: without it the group cannot be, so tell all. */
static void give_up(struct root *root)
{
	uint8_t *missing = calloc(root->nranks, 1);
	char names[160] = "some ranks";

	for (uint32_t i = 0; missing && i < root->part.count; i++)
		missing[root->part.first + i] = !root->seats[i];
	if (missing)
		hk_boot_print_ranks(missing, root->nranks, names, sizeof(names));
	free(missing);
	snprintf(root->why, sizeof(root->why),
		 "%s never came (%u of %u are here): were they started, with this unique id, and "
		 "can their hosts reach the root? HOCKET_INIT_TIMEOUT_MS sets the deadline",
		 names, root->taken, root->part.count);
	dismiss_all(root, -ETIMEDOUT, NULL);
}

/* The first member of all says what the group is. */
static int found(struct root *root, const struct member *m)
{
	free(root->seats);
	root->seats = calloc(m->join.part.count, sizeof(struct member *));
	if (!root->seats)
		return -ENOMEM;
	root->nranks = m->nranks;
	root->part = m->join.part;
	root->latest = 0;
	return 0;
}

/* Whether the member means the same group as those before it; else text says what differs. */
static bool agrees(const struct root *root, const struct member *m, char text[HK_BOOT_TEXT])
{
	const struct hk_part *theirs = &m->join.part, *ours = &root->part;

	if (m->nranks != root->nranks)
		snprintf(text, HK_BOOT_TEXT,
			 "rank %u was started with %u ranks, but the ranks before it with %u: all "
			 "must pass the same number",
			 m->rank, m->nranks, root->nranks);
	else if (theirs->first != ours->first || theirs->count != ours->count)
		snprintf(
			text, HK_BOOT_TEXT,
			"for rank %u this unique id serves %u ranks from rank %u on, for the ranks "
			"before it %u from rank %u on: all must pass the same ids in the same "
			"order",
			m->rank, theirs->count, theirs->first, ours->count, ours->first);
	else
		return true;
	return false;
}

/* Why the member cannot be let in, told to all who would have to do with it. */
static bool is_wrong(struct root *root, struct member *m)
{
	char text[HK_BOOT_TEXT];

	if (!agrees(root, m, text)) {
		if (root->complete) {
			refuse(m, -HK_EUSAGE, "%s", text);
			return true;
		}
		memcpy(root->why, text, sizeof(text));
	} else if (!root->complete && !m->asks && root->seats[m->rank - root->part.first]) {
		snprintf(root->why, sizeof(root->why),
			 "rank %u of %u has joined already: two processes were started with the "
			 "same rank",
			 m->rank, m->nranks);
	} else {
		return false;
	}
	dismiss_all(root, -HK_EUSAGE, m);
	return true;
}

static void take_seat(struct root *root, struct member *m)
{
	m->stage = SEATED;
	/* Early enough for the sentence to arrive before the rank's own deadline. */
	m->deadline = hk_now_ns() + m->timeout_ms * HK_BOOT_MS -
		      (m->timeout_ms < 2000 ? m->timeout_ms / 8 : 250) * HK_BOOT_MS;
	if (m->deadline > root->latest)
		root->latest = m->deadline;
	if (m->asks) {
		root->askers++;
		return;
	}
	root->seats[m->rank - root->part.first] = m;
	if (++root->taken == root->part.count)
		introduce(root);
}

/* The member has said where it listens: give it its seat, or say why not. */
static void seat(struct root *root, struct member *m)
{
	const struct hk_part *part = &m->join.part;

	m->asks = m->rank < part->first || m->rank - part->first >= part->count;
	if (root->ended && !root->complete)
		refuse(m, -HK_EUSAGE, "%s", root->why);
	else if (!root->ended && !root->taken && !root->askers && found(root, m))
		refuse(m, -ENOMEM, "the root has no memory for %u ranks", m->nranks);
	else if (is_wrong(root, m))
		return;
	else if (!root->complete)
		take_seat(root, m);
	else if (m->asks)
		tell_partners(root, m);
	else
		refuse(m, -HK_EUSAGE, "%s", root->why);
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

	if (m->stage == SEATED)
		hk_log(HK_LOG_INFO, "rank %u went away before all had come", m->rank);
	if (m->stage == SEATED && m->asks)
		root->askers--;
	if (m->stage == SEATED && !m->asks) {
		root->seats[m->rank - root->part.first] = NULL;
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
	    hk_boot_parse_join(f.payload, f.len, m->nranks, &m->join))
		return false;
	seat(root, m);
	return true;
}

static int64_t next_deadline(const struct root *root)
{
	int64_t next = hk_door_deadline(&root->door);

	if ((root->ended || !(root->taken + root->askers)) && root->deadline < next)
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
	free(root->contacts);
	free(root->expected);
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
