/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dialling half of the handshake. A callee has several addresses and we cannot know which of
 * them work from here, so all are tried side by side, the better ones a little earlier: connect,
 * send the hello, wait for the challenge. The first whose challenge proves that it knows the secret
 * gets our proof; the others are closed, and the callee forgets them. Whatever else listens at one
 * of the addresses (another job, another program, a silent one) thus costs nothing but its attempt.
 * Failed attempts are repeated with growing pauses until the deadline: the callee may be slow to
 * start, or its queue full.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"

#define CONNECT_NS    (3000 * HK_BOOT_MS) /* a packet that gets lost on the way needs about one */
#define STAGGER_NS    (40 * HK_BOOT_MS)
#define FIRST_PAUSE   (20 * HK_BOOT_MS)
#define LONGEST_PAUSE (500 * HK_BOOT_MS)

enum {
	MOST_SHUT =
		5, /* as often may it hang up on our hello: it was a crowd, then it is the key */
};

enum stage { REST, CONNECTING, ASKED };

/* One address. */
struct attempt {
	struct sockaddr_storage sa, from;
	socklen_t salen, fromlen; /* fromlen 0: from wherever the system takes */
	int fd;
	enum stage stage;
	int64_t at; /* REST: try again then; else give up then */
	int64_t pause;
	int64_t refused_since; /* 0: it did not refuse last time */
	unsigned shut;	       /* times that it hung up on our hello, or answered nonsense */
	int last;	       /* last code */
	uint8_t hello[HK_HELLO_BYTES], challenge[HK_CHALLENGE_BYTES];
	uint32_t got;
};

struct race {
	const struct hk_call *call;
	struct attempt tries[HK_CONTACT_ADDRS];
	unsigned n;
	int local; /* errno of a socket that could not even be made; 0: none */
};

static void rest(struct attempt *a, int why)
{
	int64_t now = hk_now_ns();

	hk_net_close(&a->fd);
	a->stage = REST;
	a->at = now + a->pause;
	a->pause = 2 * a->pause < LONGEST_PAUSE ? 2 * a->pause : LONGEST_PAUSE;
	a->last = why;
	if (why == -HK_EAUTH)
		a->shut++;
	if (why != -ECONNREFUSED)
		a->refused_since = 0;
	else if (!a->refused_since)
		a->refused_since = now;
}

static void ask(struct race *race, struct attempt *a)
{
	struct hk_hello hello = race->call->hello;
	int left = hk_net_poll_ms(race->call->deadline);

	hello.timeout_ms = left > 0 ? (uint32_t)left : 1;
	hk_auth_hello(race->call->key, &hello, a->hello);
	a->got = 0;
	if (send(a->fd, a->hello, sizeof(a->hello), MSG_NOSIGNAL) != (ssize_t)sizeof(a->hello)) {
		rest(a, -ECONNRESET);
		return;
	}
	a->stage = ASKED;
	a->at = hk_now_ns() + HK_BOOT_HANDSHAKE_NS;
}

/* Ties the socket to the route's interface, as far as we may: the source address at least. */
static int tie(const struct race *race, const struct attempt *a)
{
	const struct hk_route *via = race->call->via;

	if (!a->fromlen)
		return 0;
	setsockopt(a->fd, SOL_SOCKET, SO_BINDTODEVICE, via->ifname, (socklen_t)strlen(via->ifname));
	return bind(a->fd, (const struct sockaddr *)&a->from, a->fromlen);
}

static void start(struct race *race, struct attempt *a)
{
	a->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (a->fd < 0) {
		/* Our own want, which waiting for the peer does not mend; an address family that
		 * this host lacks is not. */
		if (errno != EAFNOSUPPORT)
			race->local = errno;
		rest(a, -errno);
		return;
	}
	hk_net_nodelay(a->fd);
	if (tie(race, a)) {
		rest(a, -errno);
	} else if (!connect(a->fd, (struct sockaddr *)&a->sa, a->salen)) {
		ask(race, a);
	} else if (errno == EINPROGRESS) {
		a->stage = CONNECTING;
		a->at = hk_now_ns() + CONNECT_NS;
	} else {
		rest(a, -errno);
	}
}

static void finish_connect(struct race *race, struct attempt *a)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (err)
		rest(a, -err);
	else
		ask(race, a);
}

/* true: this one knows the secret. */
static bool hear(struct race *race, struct attempt *a)
{
	while (a->got < sizeof(a->challenge)) {
		ssize_t n = recv(a->fd, a->challenge + a->got, sizeof(a->challenge) - a->got, 0);

		if (n > 0) {
			a->got += (uint32_t)n;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			rest(a, -HK_EAUTH);
			return false;
		} else if (errno == EAGAIN) {
			return false;
		}
	}
	if (hk_auth_check_challenge(race->call->key, a->hello, a->challenge))
		return true;
	rest(a, -HK_EAUTH);
	return false;
}

/* Starts and ends what is due; the time of the next such thing. */
static int64_t tend(struct race *race)
{
	int64_t now = hk_now_ns(), next = race->call->deadline;

	for (unsigned i = 0; i < race->n; i++) {
		struct attempt *a = &race->tries[i];

		if (a->stage != REST && now >= a->at)
			rest(a, -ETIMEDOUT);
		else if (a->stage == REST && now >= a->at)
			start(race, a);
		if (a->at < next)
			next = a->at;
	}
	return next;
}

/* Waits for something and handles it; the winner, if there is one now. */
static struct attempt *step(struct race *race, int *err)
{
	struct pollfd p[HK_CONTACT_ADDRS + 2];
	int64_t next = tend(race);

	for (unsigned i = 0; i < race->n; i++)
		p[i] = (struct pollfd){.fd = race->tries[i].fd,
				       .events = race->tries[i].stage == CONNECTING ? POLLOUT
										    : POLLIN};
	p[race->n] = (struct pollfd){.fd = race->call->failfd, .events = POLLIN};
	p[race->n + 1] = (struct pollfd){.fd = race->call->stopfd > 0 ? race->call->stopfd : -1,
					 .events = POLLIN};
	if (poll(p, race->n + 2, hk_net_poll_ms(next)) <= 0)
		return NULL;
	if (p[race->n].revents || p[race->n + 1].revents) {
		*err = p[race->n].revents ? -HK_EPEER : -HK_EABORT;
		return NULL;
	}
	for (unsigned i = 0; i < race->n; i++) {
		struct attempt *a = &race->tries[i];

		if (!p[i].revents)
			continue;
		if (a->stage == CONNECTING)
			finish_connect(race, a);
		else if (a->stage == ASKED && hear(race, a))
			return a;
	}
	return NULL;
}

/* hk_fail, or for calls that may well fail its quiet form. */
typedef int say_fn(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static say_fn *sayer(const struct hk_call *call)
{
	return call->quiet ? hk_fail_quiet : hk_fail;
}

static int fail_race(const struct race *race, int code, const char *what)
{
	const struct hk_call *call = race->call;
	char where[200] = "its Unix socket";
	int last = race->tries[0].last;

	if (!call->local)
		hk_net_print(call->addr, HK_CONTACT_ADDRS, where, sizeof(where));
	for (unsigned i = 0; i < race->n; i++)
		if (race->tries[i].last == -HK_EAUTH)
			last = -HK_EAUTH;
	return sayer(call)(code, "%s at %s %s (last: %s): %s", call->whom, where, what,
			   last ? hk_code_name(last) : "silence", call->remedy);
}

/* Whether it is hopeless already. Else 0. */
static int judge(const struct race *race, int64_t began)
{
	const struct hk_call *call = race->call;
	int64_t now = hk_now_ns();
	unsigned refused = 0, shut = 0, other = 0;
	char what[64];

	for (unsigned i = 0; i < race->n; i++) {
		const struct attempt *a = &race->tries[i];

		if (a->shut >= MOST_SHUT)
			shut++;
		else if (a->refused_since && call->refused_ns &&
			 now - a->refused_since > call->refused_ns)
			refused++;
		else if (a->last != -ECONNREFUSED)
			other++;
	}
	if (shut && !other)
		return fail_race(race, HK_EAUTH,
				 "does not accept this unique id's secret, or is another job");
	if (refused == race->n)
		return fail_race(race, HK_EPEER,
				 "no longer listens: it has ended or destroyed its communicator");
	if (race->local)
		return sayer(call)(
			race->local,
			"no socket for calling %s: %s; raise the limit of open files (ulimit "
			"-n) if that is what ran out",
			call->whom, hk_code_name(race->local));
	if (now < call->deadline)
		return 0;
	snprintf(what, sizeof(what), "gave no answer within %.1f s", (double)(now - began) / 1e9);
	return fail_race(race, shut ? HK_EAUTH : ETIMEDOUT, what);
}

static void prepare(struct race *race, const struct hk_call *call)
{
	int64_t now = hk_now_ns();

	memset(race, 0, sizeof(*race));
	race->call = call;
	for (unsigned i = 0; i < HK_CONTACT_ADDRS; i++) {
		struct attempt *a = &race->tries[race->n];

		if (call->local ? i > 0 : !call->addr[i].family)
			continue;
		if (call->local)
			a->salen = hk_net_sockaddr_local(call->local, &a->sa);
		else
			a->salen = hk_net_sockaddr(&call->addr[i], &a->sa);
		if (call->via && call->via->ifname[0])
			a->fromlen = hk_net_sockaddr(&call->via->from[i], &a->from);
		a->fd = -1;
		a->at = now + race->n * STAGGER_NS;
		a->pause = FIRST_PAUSE;
		race->n++;
	}
}

int hk_dial(const struct hk_call *call, struct hk_session *s)
{
	struct race race;
	struct attempt *won = NULL;
	struct hk_session got;
	uint8_t proof[HK_PROOF_BYTES];
	int64_t began = hk_now_ns();
	int err = 0;

	prepare(&race, call);
	while (!err && !won) {
		won = step(&race, &err);
		if (!won && !err)
			err = judge(&race, began);
	}
	if (won) {
		hk_auth_proof(call->key, won->hello, won->challenge, proof);
		hk_auth_session(call->key, won->hello, won->challenge, false, &got);
		got.fd = won->fd;
		won->fd = -1;
		if (send(got.fd, proof, sizeof(proof), MSG_NOSIGNAL) != (ssize_t)sizeof(proof)) {
			hk_net_close(&got.fd);
			err = sayer(call)(HK_EPEER, "%s broke off the handshake: %s", call->whom,
					  call->remedy);
		} else {
			*s = got;
		}
	}
	for (unsigned i = 0; i < race.n; i++)
		hk_net_close(&race.tries[i].fd);
	return err;
}

int hk_dial_reply(const struct hk_call *call, struct hk_session *s, struct hk_reader *r,
		  uint32_t type, struct hk_frame *f)
{
	int err = hk_frame_recv(s, r, call->deadline, call->failfd, f);
	struct hk_refusal refusal;

	if (err == -HK_EPEER)
		return err;
	if (err == -ETIMEDOUT)
		return sayer(call)(err, "%s answered the handshake and then nothing: %s",
				   call->whom, call->remedy);
	if (err == -HK_EWIRE || err == -HK_EAUTH)
		return sayer(call)(err,
				   "%s sent bytes that make no sense: are all ranks of the same "
				   "version of Hocket?",
				   call->whom);
	if (err)
		return sayer(call)(HK_EPEER, "%s closed the connection (%s): %s", call->whom,
				   hk_code_name(err), call->remedy);
	if (f->type == type)
		return 0;
	if (f->type == HK_FRAME_ERROR && !hk_boot_parse_refusal(f->payload, f->len, &refusal))
		return sayer(call)(refusal.code, "%s", refusal.text);
	return sayer(call)(HK_EWIRE,
			   "%s answered with a frame of type %u where %u belongs: are all "
			   "ranks of the same version of Hocket?",
			   call->whom, f->type, type);
}
