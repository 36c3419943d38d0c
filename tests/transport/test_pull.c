/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pulling between processes: what is read is what is there, a wrong process is not believed, and
 * the shared memory transport does without where the system forbids it from the start (then nothing
 * is offered) or from some moment on (then the sender fills its slot after all); a sender that dies
 * is an error. Each case is a pair of processes, so that the parameters are read anew in each, with
 * a socket between them on which the wire runs.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "error.h"
#include "harness.h"
#include "pull.h"
#include "shm.h"

#define BYTES	262144u
#define SLOTS	4u
#define MAY_NOT 77 /* status of a process that may not read another's memory */

/* cmocka's asserts are for the parent. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "rank %d: %s:%d: %s is false; last error: %s\n", me.rank,  \
				__FILE__, __LINE__, #cond, hk_last_error());                       \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* What a process of a pair has; fork gives each its own. */
static struct {
	int rank, sock, peer_segment;
	struct hk_wire wire;
	struct hk_endpoint *ep;
	struct hk_send *send; /* of rank 0 */
	struct hk_recv *recv; /* of rank 1 */
	uint8_t *data;
} me;

/* --- a wire between two processes --- */

struct letter {
	uint32_t tag;
	struct hk_addr addr;
};

static void put(const struct letter *l, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec io = {(void *)(uintptr_t)l, sizeof(*l)};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control.room);
	}
	CHECK(sendmsg(me.sock, &m, 0) == sizeof(*l));
}

static struct letter get(int *fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct letter l;
	struct iovec io = {&l, sizeof(l)};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control.room)};

	CHECK(recvmsg(me.sock, &m, 0) == sizeof(l));
	if (fd) {
		CHECK(CMSG_FIRSTHDR(&m));
		memcpy(fd, CMSG_DATA(&control.head), sizeof(*fd));
	}
	return l;
}

static int publish(struct hk_wire *w, uint32_t tag, int fd)
{
	struct letter l = {.tag = tag};

	put(&l, fd);
	return 0;
}

static int fetch(struct hk_wire *w, int peer, uint32_t tag, int *fd)
{
	*fd = dup(me.peer_segment);
	return 0;
}

static const struct hk_wire_ops wire_ops = {.publish = publish, .fetch = fetch};

/* Until the other one is here, too. */
static void meet(void)
{
	struct letter l = {.tag = 1};

	put(&l, -1);
	CHECK(get(NULL).tag == 1);
}

static uint8_t byte_of(uint32_t k, uint32_t i)
{
	return (uint8_t)(i * 7 + i / 251 + k * 13);
}

/* A connection from rank 0 to rank 1. */
static void join(void)
{
	const struct hk_transport *shm = hk_transport_find("shm");
	struct hk_endpoint_env env = {.rank = me.rank,
				      .nranks = 2,
				      .host = 5,
				      .wire = &me.wire,
				      .channels = 1,
				      .slots = SLOTS,
				      .slot_bytes = BYTES};
	struct letter own = {.tag = 2}, theirs;

	me.wire.ops = &wire_ops;
	me.data = malloc(BYTES);
	CHECK(me.data);
	CHECK(shm->open(&env, &me.ep, &own.addr) == 0);
	put(&own, -1);
	get(&me.peer_segment);
	theirs = get(NULL);
	if (me.rank == 0)
		CHECK(shm->connect_send(me.ep, 1, 0, &theirs.addr, &me.send) == 0);
	else
		CHECK(shm->connect_recv(me.ep, 0, 0, &theirs.addr, &me.recv) == 0);
	meet();
}

static void leave(void)
{
	meet();
	me.ep->transport->close(me.ep);
	close(me.peer_segment);
	free(me.data);
	exit(0);
}

/* --- messages --- */

/* Whether it was lent; and as what, is then in *way. */
static bool send_one(uint32_t k, uint32_t bytes, uint32_t *way)
{
	const struct hk_send_ops *ops = me.send->ops;
	int64_t end = hk_now_ns() + PATIENCE_NS;
	void *slot = NULL;

	for (uint32_t i = 0; i < bytes; i++)
		me.data[i] = byte_of(k, i);
	while (ops->reserve(me.send, 0, &slot) == 0)
		CHECK(hk_now_ns() < end);
	if (ops->lends(me.send, me.data, bytes)) {
		*way = ((struct hk_shm_send *)me.send)->way;
		CHECK(ops->lend(me.send, me.data, bytes, k) == 0);
		return true;
	}
	CHECK(ops->reserve(me.send, bytes, &slot) == 1);
	memcpy(slot, me.data, bytes);
	CHECK(ops->commit(me.send, bytes, k) == 0);
	return false;
}

static void flush(void)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	int rc;

	while ((rc = me.send->ops->flush(me.send)) == 0)
		CHECK(hk_now_ns() < end);
	CHECK(rc == 1);
}

/* The next message, checked. Whether it was pulled; or a negative code. */
static int receive_one(uint32_t k, uint32_t bytes)
{
	const struct hk_recv_ops *ops = me.recv->ops;
	int64_t end = hk_now_ns() + PATIENCE_NS;
	uint32_t got = 0, mark = 0;
	const void *data = NULL;
	int rc = 0;

	while (!rc) {
		CHECK(hk_now_ns() < end);
		rc = ops->peek(me.recv, &data, &got, &mark);
		if (rc == 1 && !data) {
			rc = ops->pull(me.recv, 0, me.data, 1000);
			if (rc == 1)
				rc = ops->pull(me.recv, 1000, me.data + 1000, got - 1000);
		}
	}
	if (rc < 0)
		return rc;
	CHECK(got == bytes && mark == k);
	for (uint32_t i = 0; i < bytes; i++)
		CHECK((data ? (const uint8_t *)data : me.data)[i] == byte_of(k, i));
	CHECK(ops->release(me.recv) == 0);
	return !data;
}

/* From here on this process may not read others' memory, as in a strict container. */
static void forbid(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static bool pulls(void)
{
	return ((struct hk_shm_recv *)me.recv)->memory.pid &&
	       atomic_load(&hk_shm_credit(&((struct hk_shm_recv *)me.recv)->region)->pulls);
}

/* --- cases: what each of the two does --- */

static void exchange(uint32_t n, bool expect_pulls)
{
	uint32_t way = 0, pulled = 0;

	for (uint32_t k = 0; k < n; k++) {
		uint32_t bytes = k % 3 == 2 ? HK_WAY_LONG_BYTES - 1 : BYTES - k;

		if (me.rank == 1) {
			pulled += receive_one(k, bytes) == 1;
			continue;
		}
		if (send_one(k, bytes, &way)) {
			CHECK(way == HK_WAY_PULLED && bytes >= HK_WAY_LONG_BYTES);
			pulled++;
		}
		flush(); /* me.data is filled anew */
	}
	CHECK(expect_pulls == (pulled > 0));
}

static void case_pull(void)
{
	join();
	if (me.rank == 1 && !pulls())
		_exit(MAY_NOT); /* the system forbids it: nothing to test */
	exchange(100, true);
	leave();
}

static void case_off(void)
{
	setenv("HOCKET_CMA", "0", 1);
	join();
	CHECK(me.rank == 0 || !pulls());
	exchange(30, false);
	leave();
}

static void case_forbidden(void)
{
	forbid();
	join();
	CHECK(me.rank == 0 || !pulls());
	exchange(30, false);
	leave();
}

/* The receiver loses the right in the middle: what is lent then goes through a slot after all. */
static void case_forbidden_later(void)
{
	uint32_t way = 0;
	bool lent = false;

	join();
	exchange(100, true);
	if (me.rank == 1)
		forbid();
	meet();
	for (uint32_t k = 0; k < 600; k++) {
		if (me.rank == 1) {
			CHECK(receive_one(k, BYTES) == 0);
			continue;
		}
		lent |= send_one(k, BYTES, &way);
		flush();
	}
	CHECK(me.rank == 0 ? lent : !pulls());
	exchange(30, false);
	leave();
}

/* A sender that waits for other things serves its loans when it goes to sleep. */
static void case_served_asleep(void)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	uint32_t way = 0;

	join();
	if (me.rank == 1) {
		forbid();
		CHECK(receive_one(0, BYTES) == 0);
		leave();
	}
	CHECK(send_one(0, BYTES, &way) && way == HK_WAY_PULLED);
	while (!((struct hk_shm_send *)me.send)->served) {
		CHECK(hk_now_ns() < end);
		me.ep->transport->arm(me.ep);
		me.ep->transport->wait(me.ep, 1000000);
	}
	flush();
	leave();
}

static void case_killed(void)
{
	uint32_t way = 0;

	join();
	if (me.rank == 0) {
		CHECK(send_one(0, BYTES, &way) && way == HK_WAY_PULLED);
		put(&(struct letter){.tag = 9}, -1);
		raise(SIGKILL);
	}
	CHECK(get(NULL).tag == 9);
	/* The socket's end: the process is gone. */
	CHECK(recv(me.sock, &(char){0}, 1, 0) == 0);
	while (hk_pull_probe(&((struct hk_shm_recv *)me.recv)->memory) == 0)
		;
	CHECK(receive_one(0, BYTES) == -HK_EPEER);
	CHECK(strstr(hk_last_error(), "rank 0"));
	exit(0);
}

/* --- the pairs --- */

static void become(int rank, const int *socks, void (*play)(void))
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("HOCKET_DEBUG", "0", 0);
	me.rank = rank;
	me.sock = socks[rank];
	close(socks[!rank]);
	play();
	exit(1);
}

static bool pair(void (*play)(void), int victim)
{
	bool may = true;
	pid_t pids[2];
	int socks[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (!pids[i])
			become(i, socks, play);
	}
	close(socks[0]);
	close(socks[1]);
	for (int i = 0; i < 2; i++) {
		int status = 0;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		if (WIFEXITED(status) && WEXITSTATUS(status) == MAY_NOT)
			may = false;
		else if (i != victim && may)
			assert_int_equal(status, 0);
	}
	return may;
}

static bool may_pull(void)
{
	static int known;

	if (!known)
		known = pair(case_pull, -1) ? 1 : -1;
	return known > 0;
}

static void test_between_processes(void **state)
{
	if (!may_pull())
		skip();
}

static void test_switched_off(void **state)
{
	pair(case_off, -1);
}

static void test_forbidden(void **state)
{
	pair(case_forbidden, -1);
}

static void test_forbidden_later(void **state)
{
	if (!may_pull())
		skip();
	pair(case_forbidden_later, -1);
	pair(case_served_asleep, -1);
}

static void test_killed(void **state)
{
	if (!may_pull())
		skip();
	pair(case_killed, 0);
}

/* --- within this process --- */

static void test_identity(void **state)
{
	struct hk_pull_id id, wrong;
	uint8_t from[10000], to[10000] = {0};

	assert_int_equal(hk_pull_self(&id), 0);
	assert_true(hk_pull_is_self(&id));
	assert_int_equal(hk_pull_probe(&id), 0);
	memset(from, 7, sizeof(from));
	assert_int_equal(hk_pull_read(&id, (uintptr_t)from, to, sizeof(to)), 0);
	assert_memory_equal(to, from, sizeof(to));
	wrong = id;
	wrong.nonce ^= 1; /* another process with this number */
	assert_false(hk_pull_is_self(&wrong));
	assert_int_equal(hk_pull_probe(&wrong), -ESRCH);
	wrong = id;
	wrong.pid = 0x3fffffff; /* no such process */
	assert_int_equal(hk_pull_probe(&wrong), -ESRCH);
	wrong = id;
	wrong.at = 8; /* no such memory */
	assert_int_equal(hk_pull_probe(&wrong), -EFAULT);
}

/* A forked process is not the one whose memory it once shared. */
static void test_fork(void **state)
{
	struct hk_pull_id id, child;
	int status = 0;
	pid_t pid;

	assert_int_equal(hk_pull_self(&id), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(hk_pull_is_self(&id) || hk_pull_self(&child) || child.nonce == id.nonce);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A connection whose counts are about to pass a limit, as after so many messages. */
static void test_many_messages(void **state)
{
	static const uint32_t limits[] = {1u << 31, 0};
	const struct world_config config = {.nranks = 2, .slots = SLOTS, .slot_bytes = 16384};

	for (unsigned i = 0; i < 2; i++) {
		uint32_t sent = limits[i] - 20;
		struct hk_shm_send *s;
		struct hk_shm_recv *r;
		struct world w;

		world_open(&w, hk_transport_find("shm"), &config);
		world_connect(&w, 0, 1, 0);
		s = (struct hk_shm_send *)w.streams[0].send;
		r = (struct hk_shm_recv *)w.streams[0].recv;
		s->sent = s->released = r->received = sent;
		atomic_store(&hk_shm_credit(&r->region)->released, sent);
		assert_null(world_run(&w, 100, ONE_THREAD));
		world_close(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_between_processes),
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_forbidden_later),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_many_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
