/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPU memory between two processes: by handle and by file descriptor, pieces of addresses that
 * grow, what cannot be shared, addresses that their owner uses again; and hocketDeviceMemAlloc,
 * whose memory is shared by descriptor where the driver has that. The other process is a child that
 * opens what it is sent, reads and writes it, and answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "cuda_test.h"
#include "driver.h"
#include "share.h"

enum op { OPEN, READ, WRITE, CLOSE, REOPEN_GPU };

struct request {
	enum op op;
	struct hk_gpu_share share; /* OPEN */
	uint64_t at;
	unsigned word; /* WRITE */
};

struct answer {
	int err;
	uint64_t at;			/* OPEN */
	unsigned word;			/* READ */
	unsigned long closed, unmapped; /* calls of the stand-in so far */
	unsigned long imported, released;
};

static int sock;
static struct hk_gpu *gpu;
static const struct hk_cuda *cuda;
static bool maps; /* the driver has mapped memory */

/* --- the other process --- */

static void send_with(int to, const void *data, size_t bytes, int fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {(void *)(uintptr_t)data, bytes};
	struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	CHECK(sendmsg(to, &msg, 0) == (ssize_t)bytes);
}

/* False at the end. *fd: -1 where none came. */
static bool receive_with(int from, void *data, size_t bytes, int *fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {data, bytes};
	struct msghdr msg = {.msg_iov = &part,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);

	if (!n)
		return false;
	CHECK(n == (ssize_t)bytes);
	*fd = -1;
	if (CMSG_FIRSTHDR(&msg))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*fd));
	return true;
}

static struct answer serve_one(const struct request *q, int fd)
{
	struct answer a = {0};

	switch (q->op) {
	case OPEN:
		a.err = hk_gpu_open_share(gpu, &q->share, fd, &a.at);
		break;
	case READ:
		a.err = hk_gpu_read(gpu, &a.word, q->at, sizeof(a.word));
		break;
	case WRITE:
		a.err = hk_gpu_write(gpu, q->at, &q->word, sizeof(q->word));
		break;
	case CLOSE:
		hk_gpu_close_share(gpu, q->at);
		break;
	case REOPEN_GPU:
		hk_gpu_close(gpu);
		a.err = hk_gpu_open(gpu_use(1), &gpu);
		break;
	}
	if (cu.calls) {
		a.imported = cu.calls("cuMemImportFromShareableHandle");
		a.released = cu.calls("cuMemRelease");
		a.closed = cu.calls("cuIpcCloseMemHandle");
		a.unmapped = cu.calls("cuMemUnmap") + cu.calls("cuMemAddressFree");
	}
	return a;
}

static int serve(int from)
{
	struct request q;
	int fd;

	gpu_start();
	CHECK(hk_gpu_open(gpu_use(1), &gpu) == 0);
	while (receive_with(from, &q, sizeof(q), &fd)) {
		struct answer a = serve_one(&q, fd);

		if (fd >= 0)
			close(fd);
		send_with(from, &a, sizeof(a), -1);
	}
	hk_gpu_close(gpu);
	return 0;
}

static struct answer ask(struct request q, int fd)
{
	struct answer a;
	int none;

	send_with(sock, &q, sizeof(q), fd);
	CHECK(receive_with(sock, &a, sizeof(a), &none));
	return a;
}

static struct answer ask_at(enum op op, uint64_t at, unsigned word)
{
	return ask((struct request){.op = op, .at = at, .word = word}, -1);
}

/* --- what both kinds of memory can do --- */

static void put(uint64_t at, unsigned word)
{
	assert_int_equal(hk_gpu_write(gpu, at, &word, sizeof(word)), 0);
}

static unsigned get(uint64_t at)
{
	unsigned word = 0;

	assert_int_equal(hk_gpu_read(gpu, &word, at, sizeof(word)), 0);
	return word;
}

static struct answer open_there(uint64_t at, struct hk_gpu_share *s)
{
	struct request q = {.op = OPEN};
	struct answer a;
	int fd = -7;

	assert_int_equal(hk_gpu_share(gpu, at, s, &fd), 0);
	assert_int_equal(fd >= 0, s->by_fd);
	q.share = *s;
	a = ask(q, fd);
	if (fd >= 0)
		close(fd);
	return a;
}

/* One word goes there and another one comes back. */
static void exchange(uint64_t at, uint64_t base, uint64_t there, unsigned word)
{
	put(at, word);
	assert_int_equal(ask_at(READ, there + (at - base), 0).word, word);
	assert_int_equal(ask_at(WRITE, there + (at - base), word + 1).err, 0);
	assert_int_equal(get(at), word + 1);
}

static void share_it(uint64_t at, size_t bytes, bool by_fd)
{
	struct hk_gpu_share s, again;
	unsigned long released = cu.calls ? cu.calls("cuMemRelease") : 0;
	struct answer a = open_there(at + bytes - 4, &s), before, after;
	int fd;

	assert_int_equal(a.err, 0);
	assert_int_equal(s.by_fd, by_fd);
	if (cu.calls)
		assert_int_equal(cu.calls("cuMemRelease") - released, by_fd);
	assert_int_equal(s.base, at);
	assert_true(s.bytes >= bytes);
	exchange(at, at, a.at, 100);
	exchange(at + bytes - 4, at, a.at, 200);
	assert_int_equal(hk_gpu_share(gpu, at, &again, &fd), 0);
	assert_int_equal(again.id, s.id);
	close(fd);

	/* Closing waits until nothing of ours is in the context. */
	before = ask_at(CLOSE, a.at, 0);
	after = ask_at(REOPEN_GPU, 0, 0);
	assert_int_equal(after.err, 0);
	if (!cu.calls)
		return;
	assert_int_equal(a.released, a.imported);
	assert_int_equal(before.closed + before.unmapped, a.closed + a.unmapped);
	assert_int_equal(after.closed - before.closed, by_fd ? 0 : 1);
	assert_int_equal(after.unmapped - before.unmapped, by_fd ? 2 : 0);
}

static void test_handle(void **state)
{
	CUdeviceptr at;

	CU(cu.cuMemAlloc(&at, 5000));
	share_it(at, 5000, false);
	CU(cu.cuMemFree(at));
}

static void test_device_mem_alloc(void **state)
{
	void *one, *two;
	unsigned long freed = 0;
	struct hk_gpu_share s, t;
	int fd;

	OK(hocketDeviceMemAlloc(&one, 5000, hk_gpu_device(gpu)));
	OK(hocketDeviceMemAlloc(&two, 3 << 20, hk_gpu_device(gpu)));
	share_it((uintptr_t)one, 5000, maps);
	share_it((uintptr_t)two, 3 << 20, maps);
	assert_int_equal(hk_gpu_share(gpu, (uintptr_t)one, &s, &fd), 0);
	close(fd);
	assert_int_equal(hk_gpu_share(gpu, (uintptr_t)two, &t, &fd), 0);
	close(fd);
	assert_int_not_equal(s.id, t.id);
	if (cu.calls)
		freed = cu.calls(maps ? "cuMemAddressFree" : "cuMemFree");
	OK(hocketMemFree(one));
	OK(hocketMemFree(two));
	if (cu.calls)
		assert_int_equal(cu.calls(maps ? "cuMemAddressFree" : "cuMemFree") - freed, 2);
	assert_int_equal(hocketMemFree(two), hocketInvalidArgument);
}

/* Another GPU of the process can use the memory of hocketDeviceMemAlloc. */
static void test_other_gpu(void **state)
{
	struct hk_gpu *other = NULL;
	unsigned word = 31;
	void *at;

	if (hk_gpu_count() < 2)
		skip();
	assert_int_equal(hk_gpu_open(1, &other), 0);
	if (hk_gpu_reach(other, 0)) {
		hk_gpu_close(other);
		skip();
	}
	OK(hocketDeviceMemAlloc(&at, 100, 0));
	assert_int_equal(hk_gpu_write(other, (uintptr_t)at, &word, sizeof(word)), 0);
	assert_int_equal(get((uintptr_t)at), 31);
	OK(hocketMemFree(at));
	hk_gpu_close(other);
}

/* Whatever of the mapping fails is undone, and the memory is cuMemAlloc's then. */
static void test_fallback(void **state)
{
	static const char *const steps[] = {"cuMemGetAllocationGranularity", "cuMemCreate",
					    "cuMemAddressReserve", "cuMemMap", "cuMemSetAccess"};
	void *at;

	if (!cu.make_fail || !maps)
		skip();
	for (unsigned i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		unsigned long unmapped = cu.calls("cuMemUnmap"),
			      freed = cu.calls("cuMemAddressFree"),
			      released = cu.calls("cuMemRelease"), given = cu.calls("cuMemFree");

		cu.make_fail(steps[i], 1, CUDA_ERROR_NOT_PERMITTED);
		OK(hocketDeviceMemAlloc(&at, 100, hk_gpu_device(gpu)));
		assert_int_equal(cu.calls("cuMemUnmap") - unmapped, i > 3);
		assert_int_equal(cu.calls("cuMemAddressFree") - freed, i > 2);
		assert_int_equal(cu.calls("cuMemRelease") - released, i > 1);
		share_it((uintptr_t)at, 100, false);
		OK(hocketMemFree(at));
		assert_int_equal(cu.calls("cuMemFree") - given, 1);
	}
	cu.make_fail("cuMemCreate", 1, CUDA_ERROR_OUT_OF_MEMORY);
	cu.make_fail("cuMemAlloc", 1, CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_not_equal(hocketDeviceMemAlloc(&at, 100, hk_gpu_device(gpu)), hocketSuccess);
}

/* --- pieces, and what cannot be shared --- */

static CUmemGenericAllocationHandle make_piece(CUmemAllocationHandleType types, size_t *grain)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
				    .requestedHandleTypes = types,
				    .location = {CU_MEM_LOCATION_TYPE_DEVICE, hk_gpu_device(gpu)}};
	CUmemGenericAllocationHandle memory;

	CU(cuda->cuMemGetAllocationGranularity(grain, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	CU(cuda->cuMemCreate(&memory, 2 * *grain, &prop, 0));
	return memory;
}

/* Addresses with two pieces, as PyTorch's expandable segments have; the third can't be shared. */
static void test_pieces(void **state)
{
	CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, hk_gpu_device(gpu)},
				  CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUmemGenericAllocationHandle memory;
	struct hk_gpu_share s[3];
	struct answer a[2];
	CUdeviceptr at;
	size_t grain;
	int fd = 77;

	if (!maps)
		skip();
	CU(cuda->cuMemRelease(make_piece(CU_MEM_HANDLE_TYPE_NONE, &grain)));
	CU(cuda->cuMemAddressReserve(&at, 8 * grain, 0, 0, 0));
	for (unsigned i = 0; i < 3; i++) {
		memory = make_piece(i < 2 ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
					  : CU_MEM_HANDLE_TYPE_NONE,
				    &grain);
		CU(cuda->cuMemMap(at + 2 * i * grain, 2 * grain, 0, memory, 0));
		CU(cuda->cuMemRelease(memory));
	}
	CU(cuda->cuMemSetAccess(at, 6 * grain, &access, 1));
	for (unsigned i = 0; i < 2; i++) {
		a[i] = open_there(at + (2 * i + 1) * grain, &s[i]);
		assert_int_equal(a[i].err, 0);
		assert_true(s[i].by_fd);
		assert_int_equal(s[i].base, at + 2 * i * grain);
		assert_int_equal(s[i].bytes, 2 * grain);
	}
	assert_int_not_equal(s[0].id, s[1].id);
	for (unsigned i = 0; i < 2; i++)
		exchange(s[i].base + 8, s[i].base, a[i].at, 300 + 10 * i);

	memset(&s[2], 0x55, sizeof(s[2]));
	assert_int_equal(hk_gpu_share(gpu, at + 4 * grain, &s[2], &fd), -ENOTSUP);
	assert_int_equal(hk_gpu_share(gpu, at + 7 * grain, &s[2], &fd), -ENOTSUP);
	assert_int_equal(fd, 77); /* outputs are left alone */
	assert_int_equal(s[2].base, 0x5555555555555555);
	for (unsigned i = 0; i < 3; i++)
		CU(cuda->cuMemUnmap(at + 2 * i * grain, 2 * grain));
	CU(cuda->cuMemAddressFree(at, 8 * grain));
	for (unsigned i = 0; i < 2; i++)
		ask_at(CLOSE, a[i].at, 0);
}

static void test_not_a_gpus(void **state)
{
	struct request q = {.op = OPEN, .share = {.by_fd = true, .bytes = 2 << 20}};
	struct hk_gpu_share s;
	void *pinned;
	int fd, fds[2];

	assert_int_equal(hk_gpu_share(gpu, (uintptr_t)&s, &s, &fd), -ENOTSUP);
	CU(cu.cuMemHostAlloc(&pinned, 100, 0));
	assert_int_equal(hk_gpu_share(gpu, (uintptr_t)pinned, &s, &fd), -ENOTSUP);
	CU(cu.cuMemFreeHost(pinned));
	/* A descriptor of something else. */
	CHECK(pipe(fds) == 0);
	assert_true(ask(q, fds[0]).err < 0);
	close(fds[0]);
	close(fds[1]);
}

/* --- addresses that are used again --- */

/* Freed, and allocated again at the same address. */
static void renew(CUdeviceptr *at)
{
	CUdeviceptr others[64], old = *at;
	unsigned n = 0;

	CU(cu.cuMemFree(*at));
	CU(cu.cuMemAlloc(at, 100000));
	while (*at != old && n < 64) {
		others[n++] = *at;
		CU(cu.cuMemAlloc(at, 100000));
	}
	assert_int_equal(*at, old);
	while (n)
		CU(cu.cuMemFree(others[--n]));
}

static void test_address_used_again(void **state)
{
	struct hk_gpu_share s, old;
	struct answer a, b;
	CUdeviceptr at;

	CU(cu.cuMemAlloc(&at, 100000));
	a = open_there(at, &old);
	assert_int_equal(a.err, 0);
	ask_at(CLOSE, a.at, 0); /* later */
	renew(&at);
	a = open_there(at, &s);
	assert_int_equal(a.err, 0);
	assert_int_equal(s.base, old.base);
	assert_int_not_equal(s.id, old.id);
	exchange(at + 8, at, a.at, 500);

	/* What is in use there is not taken away. */
	renew(&at);
	b = open_there(at, &s);
	if (cu.calls)
		assert_true(b.err < 0);
	if (b.err) {
		assert_int_equal(ask_at(READ, a.at + 8, 0).word, 501);
		ask_at(CLOSE, a.at, 0);
		b = open_there(at, &s);
		assert_int_equal(b.err, 0);
		exchange(at + 8, at, b.at, 600);
	}
	ask_at(CLOSE, b.at, 0);
	CU(cu.cuMemFree(at));
}

static int start(void **state)
{
	int value = 0;

	gpu_start();
	CHECK(hk_gpu_open(gpu_use(0), &gpu) == 0);
	cuda = hk_gpu_driver(gpu);
	CU(cuda->cuDeviceGetAttribute(
		&value, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 0));
	maps = value && cuda->cuMemCreate;
	return 0;
}

static int stop(void **state)
{
	hk_gpu_close(gpu);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handle),
		cmocka_unit_test(test_device_mem_alloc),
		cmocka_unit_test(test_other_gpu),
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_not_a_gpus),
		cmocka_unit_test(test_address_used_again),
	};
	int pair[2], status, failed;
	pid_t child;

	/* Before the driver: a child would have none. */
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	child = fork();
	CHECK(child >= 0);
	close(pair[child != 0]);
	if (!child)
		return serve(pair[1]);
	sock = pair[0];
	failed = cmocka_run_group_tests(tests, start, stop);
	close(sock);
	CHECK(waitpid(child, &status, 0) == child);
	return failed || status;
}
