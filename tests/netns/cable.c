/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network segment between network namespaces, as bad as a test wants it: a process with a tap
 * interface in each namespace that passes every frame on to all others, late, seldom not at all, or
 * no faster than a given rate. It does what netem does where the kernel has none, and it can
 * be cut in the middle without either end's interface noticing.
 *
 *   cable [-d DELAY_US] [-l LOSS_PERCENT] [-r MBIT_PER_S] NAMESPACE:INTERFACE ...
 *
 * The interfaces exist, but are down and have no addresses, when it prints "ready". SIGUSR1 cuts
 * it, and joins it again. It ends with its parent.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PORTS = 8, FRAME = 2048, QUEUE = 2048, BURST = 64 };

struct frame {
	int64_t due;
	uint32_t bytes;
	uint8_t data[FRAME];
};

struct port {
	int fd;
	int64_t free_at; /* when the rate allows the next frame */
	struct frame *queue;
	uint32_t first, count;
};

static struct port ports[MOST_PORTS];
static unsigned nports;
static int64_t delay_ns;
static double loss, ns_per_byte;
static volatile sig_atomic_t is_cut;

static void on_signal(int sig)
{
	is_cut = !is_cut;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "cable: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A tap interface in the namespace; the process comes back to its own. */
static int open_tap(const char *ns, const char *name, int home)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	char path[256];
	int there, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", ns);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (there < 0 || setns(there, CLONE_NEWNET))
		die(path);
	close(there);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request))
		die("a tap interface");
	if (setns(home, CLONE_NEWNET))
		die("the own namespace");
	return fd;
}

static bool is_lucky(void)
{
	static uint64_t state = 88172645463325252u;

	/* Always the same sequence: xorshift (Marsaglia, 2003). */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double)(state >> 11) / (double)(UINT64_C(1) << 53) * 100 >= loss;
}

static void enqueue(struct port *p, const uint8_t *data, uint32_t bytes, int64_t now)
{
	struct frame *f = &p->queue[(p->first + p->count) % QUEUE];

	if (p->count == QUEUE || !is_lucky())
		return;
	if (p->free_at < now)
		p->free_at = now;
	p->free_at += (int64_t)(ns_per_byte * bytes);
	f->due = p->free_at + delay_ns;
	f->bytes = bytes;
	memcpy(f->data, data, bytes);
	p->count++;
}

/* Passes on what has come; true if there was something. */
static bool take(unsigned from)
{
	uint8_t data[FRAME];
	ssize_t n = read(ports[from].fd, data, sizeof(data));

	if (n <= 0)
		return false;
	for (unsigned i = 0; i < nports && !is_cut; i++)
		if (i != from)
			enqueue(&ports[i], data, (uint32_t)n, now_ns());
	return true;
}

/* Delivers what is due; when the next is, at most `most`. */
static int64_t deliver(struct port *p, int64_t most)
{
	while (p->count) {
		const struct frame *f = &p->queue[p->first];

		if (f->due > now_ns())
			return f->due < most ? f->due : most;
		/* An interface that is down takes nothing: lost. */
		if (!is_cut && write(p->fd, f->data, f->bytes) < 0 && errno == EAGAIN)
			return now_ns() + 100000;
		p->first = (p->first + 1) % QUEUE;
		p->count--;
	}
	return most;
}

static void run(void)
{
	struct pollfd p[MOST_PORTS];

	for (;;) {
		int64_t now = now_ns(), next = now + 1000000000;
		struct timespec pause;

		for (unsigned i = 0; i < nports; i++) {
			next = deliver(&ports[i], next);
			p[i] = (struct pollfd){.fd = ports[i].fd, .events = POLLIN};
		}
		now = now_ns();
		next = next > now ? next - now : 0;
		pause = (struct timespec){next / 1000000000, next % 1000000000};
		if (ppoll(p, nports, &pause, NULL) <= 0)
			continue;
		for (unsigned i = 0; i < nports; i++)
			for (unsigned k = 0; k < BURST && p[i].revents && take(i); k++)
				;
	}
}

int main(int argc, char **argv)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((c = getopt(argc, argv, "d:l:r:")) >= 0) {
		double value = optarg ? atof(optarg) : 0;

		if (c == 'd')
			delay_ns = (int64_t)(value * 1000);
		else if (c == 'l')
			loss = value;
		else if (c == 'r' && value > 0)
			ns_per_byte = 8000 / value;
		else
			return 2;
	}
	for (; optind < argc && nports < MOST_PORTS; optind++, nports++) {
		char *name = strchr(argv[optind], ':');

		if (!name)
			return 2;
		*name++ = 0;
		ports[nports].fd = open_tap(argv[optind], name, home);
		ports[nports].queue = calloc(QUEUE, sizeof(struct frame));
		if (!ports[nports].queue)
			die("memory");
	}
	signal(SIGUSR1, on_signal);
	puts("ready");
	fflush(stdout);
	run();
}
