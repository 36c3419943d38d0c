/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_vm_readv(2) copies between two processes without either's help: the kernel pins the
 * source's pages and copies from them. Whether a process may do that is the kernel's policy
 * (ptrace(2): the same user, Yama's ptrace_scope, capabilities, seccomp filters of containers), and
 * a process id means something else in another pid namespace. So nothing is concluded from
 * settings: the reader tries. Each process publishes the place of a random number in its memory,
 * and only who reads that number there has the right process and the right to read it.
 */
#include "pull.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"

static struct {
	pthread_mutex_t lock;
	pid_t pid; /* whose nonce it is: a fork gets one of its own */
	uint64_t nonce;
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

int hk_pull_self(struct hk_pull_id *id)
{
	pid_t pid = getpid();
	uint64_t nonce = 0;
	int err = 0;

	pthread_mutex_lock(&own.lock);
	if (own.pid != pid) {
		if (getrandom(&nonce, sizeof(nonce), 0) == sizeof(nonce)) {
			own.nonce = nonce;
			own.pid = pid;
		} else {
			err = hk_fail(errno, "no random numbers: %s", strerror(errno));
		}
	}
	nonce = own.nonce;
	pthread_mutex_unlock(&own.lock);
	if (!err)
		*id = (struct hk_pull_id){(uint64_t)pid, (uintptr_t)&own.nonce, nonce};
	return err;
}

bool hk_pull_is_self(const struct hk_pull_id *id)
{
	struct hk_pull_id self;

	return hk_pull_self(&self) == 0 && id->pid == self.pid && id->at == self.at &&
	       id->nonce == self.nonce;
}

int hk_pull_probe(const struct hk_pull_id *id)
{
	uint64_t found = 0;
	int err = hk_pull_read(id, id->at, &found, sizeof(found));

	if (err)
		return err;
	/* Somebody else has that number: the peer's is of another pid namespace. */
	return found == id->nonce ? 0 : -ESRCH;
}

int hk_pull_read(const struct hk_pull_id *id, uint64_t at, void *dst, size_t bytes)
{
	uint8_t *to = dst;

	while (bytes) {
		struct iovec local = {to, bytes};
		struct iovec remote = {(void *)(uintptr_t)at, bytes};
		ssize_t n = process_vm_readv((pid_t)id->pid, &local, 1, &remote, 1, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EFAULT;
		to += n;
		at += (size_t)n;
		bytes -= (size_t)n;
	}
	return 0;
}
