/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a path is given up, and comes back. What makes it safe to send a message again over another
 * path is the fence: both ends destroy their queue pairs of the path before either sends anything
 * again, and each says then what has come. After its end is destroyed a rank's memory can't be
 * written by what is still in the network for it, nor by a late retransmission of the peer's
 * device; so a message that is sent again meets no older copy of itself.
 *
 *     lost       this end: the queue pair is stopped, and what has come is taken (DRAINING)
 *     fenced     the queue pair is gone; the peer is told, with what had come; its word is awaited
 *     done       both are: what the peer has not is posted on other paths (NONE)
 *     renewed    after a pause the lower rank makes a new queue pair, and tells the peer, who makes
 *                his; a probe that is delivered makes the path work again
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "verbs.h"

#define FIRST_PAUSE_NS	 INT64_C(200000000)
#define LONGEST_PAUSE_NS INT64_C(4000000000)
#define STEADY_NS	 INT64_C(5000000000) /* up for so long, a path starts with a short pause */

int hk_verbs_link_fail(struct hk_verbs_link *l, int err)
{
	if (!l->error)
		l->error = err;
	return l->error;
}

static bool any(const struct hk_verbs_link *l, enum hk_verbs_state state)
{
	for (unsigned i = 0; i < l->npaths; i++)
		if (l->paths[i]->state == state)
			return true;
	return false;
}

/* What to look at, by what the last path had to say. */
static const char *remedy(const struct hk_verbs_path *p, bool worked)
{
	const struct hk_verbs_rail *rail = &p->link->ep->rails[p->rail];

	if (rail->down)
		return "this host's port is down: check its cable, its switch port, and `ip link` "
		       "or `ibstat`";
	if (!worked)
		return "nothing gets through between the two: check their addresses and routes, "
		       "that the MTU of every switch between is at least the hosts' "
		       "(HOCKET_IB_MTU=1024 makes packets smaller), and `ibv_rc_pingpong`";
	if (strstr(p->why, "retr"))
		return "the peer's host, port or process no longer answers, or the fabric between "
		       "drops packets: check them with `ibv_rc_pingpong` or `hocket doctor` "
		       "(HOCKET_IB_TIMEOUT and HOCKET_IB_RETRY_CNT set the patience)";
	return "check the port's state and address (`ibv_devinfo -v`) and the kernel's log";
}

static void __attribute__((cold)) fail_all(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;
	const struct hk_ib_port *port = &l->ep->rails[p->rail].port;

	if (l->error)
		return;
	hk_verbs_link_fail(
		l, hk_fail(HK_EPEER,
			   "rank %d lost rank %d on host %s: the queue pair between %s (%s) here "
			   "and %s there reports: %s%s; %s",
			   l->ep->base.rank, l->peer, l->host, port->name,
			   port->netdev[0] ? port->netdev : "no network interface", p->peer_port,
			   p->why, l->npaths > 1 ? ", and no other path is left" : "",
			   remedy(p, l->up)));
}

/* If no path works and none is about to: the end. */
static void judge(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;

	if (l->gone)
		return; /* whoever still needs the peer hears of it */
	if (any(l, HK_PATH_UP)) {
		l->lost_at = 0;
		return;
	}
	if (!any(l, HK_PATH_PROBING) && !any(l, HK_PATH_CONNECTING))
		fail_all(p);
	else if (!l->lost_at && l->up) /* at first, addresses may have to be found */
		l->lost_at = hk_now_ns();
}

void hk_verbs_path_lost(struct hk_verbs_path *p, const char *why)
{
	struct hk_verbs_link *l = p->link;
	const struct hk_ib_port *port = &l->ep->rails[p->rail].port;
	bool worked = p->state == HK_PATH_UP, tried = p->state == HK_PATH_PROBING;
	int64_t now = hk_now_ns();

	if (p->state == HK_PATH_CONNECTING) {
		snprintf(p->why, sizeof(p->why), "%s", why);
		p->doomed = true;
		return;
	}
	if (p->state != HK_PATH_UP && p->state != HK_PATH_PROBING && p->state != HK_PATH_JOINING)
		return;
	if (p->state == HK_PATH_JOINING && p->tell_join && !p->tell_answer) {
		/* The peer has not heard of this queue pair, and would not answer for it. */
		p->tell_join = false;
		hk_verbs_path_close(p);
		p->state = HK_PATH_NONE;
		p->retry_at = now + FIRST_PAUSE_NS;
		return;
	}
	snprintf(p->why, sizeof(p->why), "%s", why);
	if (worked && now - p->since > STEADY_NS)
		p->pause = 0;
	p->state = HK_PATH_DRAINING;
	p->since = now;
	hk_verbs_path_stop(p);
	hk_verbs_tend_by(l->ep, now);
	judge(p);
	if (worked && !l->error && !l->gone)
		hk_log(HK_LOG_WARN,
		       "rank %d lost the path from %s to %s of rank %d on host %s: %s; it goes on "
		       "over the others",
		       l->ep->base.rank, port->name, p->peer_port, l->peer, l->host, why);
	else if (tried && !p->generation && !l->error && !l->gone)
		hk_log(HK_LOG_WARN,
		       "rank %d can't use the path from %s to %s of rank %d on host %s: %s; it "
		       "goes on over the others, and tries again: %s",
		       l->ep->base.rank, port->name, p->peer_port, l->peer, l->host, why,
		       remedy(p, false));
	if (!l->error)
		hk_verbs_control_retake(p);
}

/* Both ends have destroyed their queue pairs, and said what had come. */
static void fence_done(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;

	p->state = HK_PATH_NONE;
	p->peer_fenced = false;
	p->pause = p->pause ? 2 * p->pause : FIRST_PAUSE_NS;
	if (p->pause > LONGEST_PAUSE_NS)
		p->pause = LONGEST_PAUSE_NS;
	p->retry_at = hk_now_ns() + p->pause;
	hk_verbs_tend_by(l->ep, p->retry_at);
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++) {
		if (l->sends[i])
			hk_verbs_send_retake(l->sends[i], p);
		if (l->recvs[i])
			hk_verbs_recv_retake(l->recvs[i]);
	}
}

void hk_verbs_path_drained(struct hk_verbs_path *p)
{
	hk_verbs_path_close(p);
	p->state = HK_PATH_FENCED;
	p->tell_fenced = !p->link->gone;
	p->tell_join = false;
	hk_verbs_control_push(p->link);
	if (p->peer_fenced || p->link->gone)
		fence_done(p);
}

void hk_verbs_link_gone(struct hk_verbs_link *l)
{
	l->gone = true;
	for (unsigned i = 0; i < l->npaths; i++) {
		l->paths[i]->tell_fenced = l->paths[i]->tell_join = false;
		if (l->paths[i]->state == HK_PATH_FENCED)
			fence_done(l->paths[i]);
	}
}

void hk_verbs_path_fenced(struct hk_verbs_path *p, uint16_t generation)
{
	bool closed = p->state == HK_PATH_FENCED;

	if (generation != (uint16_t)(p->generation - closed) || p->state == HK_PATH_NONE)
		return; /* of a queue pair before */
	p->peer_fenced = true;
	if (closed)
		fence_done(p);
	else
		hk_verbs_path_lost(p, "the peer gave it up");
}

void hk_verbs_path_up(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;

	if (p->state != HK_PATH_PROBING)
		return;
	p->state = HK_PATH_UP;
	p->since = hk_now_ns();
	if (p->generation)
		hk_log(HK_LOG_WARN, "rank %d has the path from %s to %s of rank %d again",
		       l->ep->base.rank, l->ep->rails[p->rail].port.name, p->peer_port, l->peer);
	l->up = true;
	l->lost_at = 0;
	hk_verbs_control_push(l);
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++) {
		if (l->sends[i])
			hk_verbs_send_push(l->sends[i]);
		if (l->recvs[i])
			hk_verbs_recv_push(l->recvs[i]);
	}
}

/* Tells the peer that the queue pair that it has made finds none here. */
static void decline(struct hk_verbs_path *p, uint16_t generation)
{
	p->generation = (uint16_t)(generation + 1);
	p->state = HK_PATH_FENCED;
	p->tell_fenced = true;
	hk_verbs_control_push(p->link);
}

void hk_verbs_path_join(struct hk_verbs_path *p, uint16_t generation,
			const struct hk_verbs_address *a, bool answer)
{
	enum hk_verbs_state expected = answer ? HK_PATH_JOINING : HK_PATH_NONE;

	/* It may have made some that came to nothing, and were never told of. */
	if (!answer && p->state == HK_PATH_NONE)
		p->generation = generation;
	if (p->state != expected || p->generation != generation)
		return; /* it has been given up since, and that is told already */
	if (!answer) {
		if (p->link->ep->rails[p->rail].down || hk_verbs_path_open(p)) {
			decline(p, generation);
			return;
		}
	}
	p->tell_answer = !answer;
	if (p->link->ep->cm) {
		p->tell_join = !answer;
		hk_verbs_control_push(p->link);
		if (answer)
			hk_verbs_cm_connect(p);
		return; /* or is called */
	}
	if (hk_verbs_path_connect_begin(p, a))
		hk_verbs_path_lost(p, "it can't be connected");
	else
		hk_verbs_tend_by(p->link->ep, 0);
}

void hk_verbs_path_connected(struct hk_verbs_path *p)
{
	char why[sizeof(p->why)];
	int err = hk_verbs_path_connect_end(p);

	if (err == -EAGAIN)
		return;
	if (err || p->doomed) {
		snprintf(why, sizeof(why), "%s", p->why);
		hk_verbs_path_lost(p, why);
		return;
	}
	/* Who was asked to join says that it has; who asked tries it out. */
	if (p->tell_answer)
		p->tell_join = true;
	else if (hk_verbs_probe(p))
		hk_verbs_path_lost(p, "it takes no work requests");
	hk_verbs_control_push(p->link);
}

/* The lower rank renews; the other one is told. */
void hk_verbs_path_renew(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;

	p->retry_at = hk_now_ns() + LONGEST_PAUSE_NS;
	if (l->gone || l->ep->rails[p->rail].down || !any(l, HK_PATH_UP) || hk_verbs_path_open(p))
		return;
	p->tell_join = true;
	p->tell_answer = false;
	hk_verbs_control_push(l);
}
