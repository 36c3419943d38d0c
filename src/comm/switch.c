/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public interface of a switch (hocket/switch.h). The calling thread runs the door, where
 * strangers prove that they know the secret; each one that does gets a thread, which hears what job
 * it brings, and serves it (serve.c). Nothing that one job does or fails to do holds up another:
 * they share the listener and the count of jobs, and nothing else.
 */
#include <hocket/switch.h>

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "serve.h"

enum { MOST_STRANGERS = 64, MOST_JOBS = 1024, USUAL_JOBS = 64, BACKLOG = 128 };

/* A guest at the door, and then perhaps a job. */
struct guest_job {
	struct hocketSwitch *sw;
	pthread_t thread;
	struct hk_session session;
	struct hk_serving serving;
	bool over; /* under the switch's lock: its thread is about to end */
};

struct hocketSwitch {
	struct hk_switch_key key;
	struct hk_boot_key door_key;
	struct hk_door door;
	struct hk_boot_addr addr;
	char name[HK_SWITCH_NAME];
	unsigned max_jobs;
	int wakefd; /* a job has ended */
	struct hk_pollset polls;

	pthread_mutex_t lock; /* for what follows */
	struct guest_job **jobs;
	unsigned njobs;
	uint64_t calls; /* of jobs that have ended */
};

/* In result.c; comm.h and boot_internal.h each have a name for themselves that the other has. */
hocketResult_t hk_result(int err);

/* --- a job's thread --- */

static void refuse(struct hk_session *s, int code, const char *text)
{
	uint8_t payload[4 + HK_BOOT_TEXT];

	hk_frame_send(s, HK_FRAME_ERROR, payload, hk_boot_format_refusal(code, text, payload),
		      hk_now_ns() + HK_BOOT_HANDSHAKE_NS, -1);
}

/* Hears what job it is, agrees, and waits until all switches have. 0: hired. */
static int hear(struct guest_job *g)
{
	uint8_t buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_reader r = {.buf = buf, .cap = sizeof(buf), .fd = -1};
	int64_t deadline = hk_now_ns() + HK_HANDOVER_NS;
	struct hk_frame f;
	int err = hk_frame_recv(&g->session, &r, deadline, -1, &f);

	if (!err)
		err = f.type == HK_FRAME_JOB
			      ? hk_job_open(&g->sw->key, f.payload, f.len, &g->serving.job)
			      : -HK_EWIRE;
	if (err) {
		refuse(&g->session, err,
		       "the switch cannot read this job: are it and the ranks of the same version "
		       "of Hocket?");
		return err;
	}
	err = hk_frame_send(&g->session, HK_FRAME_OK, NULL, 0, deadline, -1);
	if (!err)
		err = hk_frame_recv(&g->session, &r, deadline, -1, &f);
	return err ? err : f.type == HK_FRAME_OK ? 0 : -HK_EWIRE;
}

static void *run_job(void *arg)
{
	struct guest_job *g = arg;
	struct hocketSwitch *sw = g->sw;
	int err = hear(g);

	hk_session_close(&g->session);
	if (err) {
		hk_log(HK_LOG_INFO, "switch %s was not hired: %s", sw->name, hk_code_name(err));
	} else {
		hk_log(HK_LOG_INFO, "switch %s serves a job of %u ranks", sw->name,
		       g->serving.job.nranks);
		err = hk_serve(&g->serving);
		hk_log(err ? HK_LOG_WARN : HK_LOG_INFO,
		       "switch %s: a job of %u ranks has ended after %llu calls%s%s", sw->name,
		       g->serving.job.nranks, (unsigned long long)g->serving.calls, err ? ": " : "",
		       err ? hk_last_error() : "");
	}
	sodium_memzero(&g->serving.job, sizeof(g->serving.job));
	pthread_mutex_lock(&sw->lock);
	g->over = true;
	pthread_mutex_unlock(&sw->lock);
	eventfd_write(sw->wakefd, 1);
	return NULL;
}

/* --- the switch's thread --- */

static void turn_away(struct hocketSwitch *sw, struct hk_guest *guest)
{
	char text[160];

	snprintf(text, sizeof(text),
		 "the switch %s serves %u jobs already, as many as it may (--max-jobs)", sw->name,
		 sw->max_jobs);
	refuse(&guest->session, -EBUSY, text);
	hk_session_close(&guest->session);
}

static int start(struct hocketSwitch *sw, const struct hk_guest *guest)
{
	struct guest_job *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return hk_fail(ENOMEM, "no memory for a job");
	g->sw = sw;
	g->session = guest->session;
	memcpy(g->serving.name, sw->name, sizeof(g->serving.name));
	hk_serve_init(&g->serving);
	err = hk_net_thread(&g->thread, "hocket-job", run_job, g);
	if (err) {
		hk_serve_destroy(&g->serving);
		free(g);
		return err;
	}
	pthread_mutex_lock(&sw->lock);
	sw->jobs[sw->njobs++] = g;
	pthread_mutex_unlock(&sw->lock);
	return 0;
}

static void admit(struct hocketSwitch *sw, struct hk_guest *guest)
{
	if (sw->njobs == sw->max_jobs)
		turn_away(sw, guest);
	else if (start(sw, guest))
		hk_session_close(&guest->session);
}

/* Frees jobs that have ended; all of them, waiting for them, if told so. */
static void reap(struct hocketSwitch *sw, bool all)
{
	for (unsigned i = sw->njobs; i-- > 0;) {
		struct guest_job *g = sw->jobs[i];
		bool over;

		pthread_mutex_lock(&sw->lock);
		over = g->over;
		pthread_mutex_unlock(&sw->lock);
		if (!over && !all)
			continue;
		pthread_join(g->thread, NULL);
		pthread_mutex_lock(&sw->lock);
		sw->calls += g->serving.calls;
		sw->jobs[i] = sw->jobs[--sw->njobs];
		pthread_mutex_unlock(&sw->lock);
		hk_serve_destroy(&g->serving);
		free(g);
	}
}

static void serve_until(struct hocketSwitch *sw, int stop_fd)
{
	struct hk_guest guest;
	eventfd_t ignored;

	for (;;) {
		unsigned stop;

		if (hk_poll_begin(&sw->polls, 2 + hk_door_fds(&sw->door))) {
			usleep(10000);
			continue;
		}
		hk_poll_add(&sw->polls, sw->wakefd, POLLIN);
		stop = hk_poll_add(&sw->polls, stop_fd, POLLIN);
		hk_door_watch(&sw->door, &sw->polls);
		hk_poll_wait(&sw->polls, hk_door_deadline(&sw->door));
		if (stop_fd >= 0 && hk_poll_got(&sw->polls, stop))
			return;
		if (hk_poll_got(&sw->polls, 0))
			eventfd_read(sw->wakefd, &ignored);
		reap(sw, false);
		hk_door_work(&sw->door, &sw->polls);
		while (hk_door_next(&sw->door, &guest))
			admit(sw, &guest);
	}
}

/* --- opening --- */

static int listen_at(struct hocketSwitch *sw, const char *where)
{
	struct hk_boot_addr addr[HK_BOOT_ADDRS];
	struct sockaddr_storage sa;
	socklen_t len;
	int fd, one = 1, err = hk_switch_resolve(where, addr);

	if (err)
		return err;
	len = hk_net_sockaddr(&addr[0], &sa);
	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* A switch that is started again gets its port back at once. */
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) || listen(fd, BACKLOG) ||
	    hk_net_local_port(fd, &addr[0].port)) {
		err = errno;
		if (fd >= 0)
			close(fd);
		return hk_fail(err, "a switch cannot listen at %s: %s", where, strerror(err));
	}
	sw->addr = addr[0];
	hk_door_listen(&sw->door, fd, false);
	return 0;
}

static void take_name(struct hocketSwitch *sw, const char *name)
{
	char host[256] = "switch";

	if (!name && !gethostname(host, sizeof(host) - 1))
		name = host;
	snprintf(sw->name, sizeof(sw->name), "%s", name ? name : host);
	/* It goes to the terminals of others. */
	for (char *p = sw->name; *p; p++)
		if (*p <= ' ' || *p > '~')
			*p = '_';
}

static void release(struct hocketSwitch *sw)
{
	hk_door_close(&sw->door);
	hk_net_close(&sw->wakefd);
	free(sw->polls.fds);
	free(sw->jobs);
	pthread_mutex_destroy(&sw->lock);
	sodium_memzero(sw, sizeof(*sw));
	free(sw);
}

static int open_switch(const hocketSwitchConfig_t *config, struct hocketSwitch **out)
{
	struct hocketSwitch *sw;
	int err;

	if (!config || !out || config->size != sizeof(*config) || !config->listen ||
	    !config->keyFile)
		return hk_fail_quiet(EINVAL,
				     "hocketSwitchOpen: needs a config with its size, an "
				     "address to listen at and a key file, and where to put the "
				     "switch");
	if (config->maxJobs < 0 || config->maxJobs > MOST_JOBS)
		return hk_fail_quiet(EINVAL, "a switch serves 1 to %d jobs at a time, not %d",
				     MOST_JOBS, config->maxJobs);
	sw = calloc(1, sizeof(*sw));
	if (!sw)
		return hk_fail(ENOMEM, "no memory for a switch");
	pthread_mutex_init(&sw->lock, NULL);
	sw->max_jobs = config->maxJobs ? (unsigned)config->maxJobs : USUAL_JOBS;
	sw->jobs = calloc(sw->max_jobs, sizeof(struct guest_job *));
	sw->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	hk_door_init(&sw->door, &sw->door_key, HK_BOOT_ROOT, 1u << HK_FOR_SERVE, MOST_STRANGERS);
	take_name(sw, config->name);
	if (!sw->jobs || sw->wakefd < 0)
		err = hk_fail(ENOMEM, "no memory or no descriptor for a switch");
	else
		err = hk_switch_key_read(config->keyFile, &sw->key);
	memcpy(sw->door_key.bytes, sw->key.door, sizeof(sw->door_key.bytes));
	if (!err)
		err = listen_at(sw, config->listen);
	if (err) {
		release(sw);
		return err;
	}
	*out = sw;
	return 0;
}

/* --- public --- */

hocketResult_t hocketSwitchMakeKey(const char *keyFile)
{
	return hk_result(keyFile ? hk_switch_key_make(keyFile)
				 : hk_fail_quiet(EINVAL, "hocketSwitchMakeKey: keyFile is NULL"));
}

hocketResult_t hocketSwitchOpen(const hocketSwitchConfig_t *config, hocketSwitch_t *sw)
{
	return hk_result(open_switch(config, sw));
}

hocketResult_t hocketSwitchAddress(hocketSwitch_t sw, char *text, size_t size)
{
	if (!sw || !text || !size)
		return hk_result(hk_fail_quiet(EINVAL, "hocketSwitchAddress: an argument is NULL"));
	hk_net_print(&sw->addr, 1, text, size);
	return hocketSuccess;
}

hocketResult_t hocketSwitchServe(hocketSwitch_t sw, int stopFd)
{
	if (!sw)
		return hk_result(hk_fail_quiet(EINVAL, "hocketSwitchServe: the switch is NULL"));
	serve_until(sw, stopFd);
	hk_door_close(&sw->door);
	for (unsigned i = 0; i < sw->njobs; i++)
		hk_serve_stop(&sw->jobs[i]->serving);
	reap(sw, true);
	return hocketSuccess;
}

hocketResult_t hocketSwitchLoad(hocketSwitch_t sw, int *jobs, uint64_t *calls)
{
	if (!sw)
		return hk_result(hk_fail_quiet(EINVAL, "hocketSwitchLoad: the switch is NULL"));
	pthread_mutex_lock(&sw->lock);
	if (jobs)
		*jobs = (int)sw->njobs;
	if (calls)
		*calls = sw->calls;
	for (unsigned i = 0; calls && i < sw->njobs; i++)
		*calls += sw->jobs[i]->serving.calls;
	pthread_mutex_unlock(&sw->lock);
	return hocketSuccess;
}

hocketResult_t hocketSwitchClose(hocketSwitch_t sw)
{
	if (sw)
		release(sw);
	return hocketSuccess;
}
