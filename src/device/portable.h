/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The few things that a GPU and a processor do differently, so that the interpreter is one text:
 * words that others read while we run, waiting for the block's other threads, the clock. On a
 * processor a block is a few threads with a barrier.
 *
 * Words are ordered for the whole system (peers may be other GPUs, or a host), but for those that
 * only the blocks of one launch exchange.
 */
#ifndef HKD_PORTABLE_H
#define HKD_PORTABLE_H

#include <stdint.h>

#ifdef __CUDACC__

#define HKD_FN	      static __device__ __forceinline__
#define HKD_COLD      static __device__ __noinline__
#define HKD_UNROLL    _Pragma("unroll")
#define HKD_NO_UNROLL _Pragma("unroll 1")
#define HKD_LOOKS     1024 /* at nothing, between two looks at the host's page and the clock */

struct hkd_barrier {
	unsigned threads;
};

HKD_FN void hkd_sync(struct hkd_barrier *b)
{
	__syncthreads();
}

HKD_FN uint64_t hkd_load_relaxed(uint64_t at)
{
	uint64_t x;

	asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN uint64_t hkd_load_acquire(uint64_t at)
{
	uint64_t x;

	asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN void hkd_store_relaxed(uint64_t at, uint64_t x)
{
	asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(at), "l"(x) : "memory");
}

HKD_FN void hkd_store_release(uint64_t at, uint64_t x)
{
	asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(at), "l"(x) : "memory");
}

/* Between the blocks of a launch. */
HKD_FN uint64_t hkd_load_acquire_near(uint64_t at)
{
	uint64_t x;

	asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN void hkd_store_release_near(uint64_t at, uint64_t x)
{
	asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(x) : "memory");
}

HKD_FN uint64_t hkd_add_near(uint64_t at, uint64_t n)
{
	uint64_t x;

	asm volatile("atom.add.acq_rel.gpu.global.u64 %0, [%1], %2;"
		     : "=l"(x)
		     : "l"(at), "l"(n)
		     : "memory");
	return x;
}

HKD_FN uint32_t hkd_load32(uint64_t at)
{
	uint32_t x;

	asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN void hkd_store32(uint64_t at, uint32_t x)
{
	asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(x) : "memory");
}

/* Sets a word that is 0; whether it was. */
HKD_FN int hkd_claim32(uint64_t at, uint32_t x)
{
	return atomicCAS_system((unsigned *)at, 0u, x) == 0;
}

HKD_FN uint64_t hkd_now_ns(void)
{
	uint64_t x;

	asm volatile("mov.u64 %0, %globaltimer;" : "=l"(x));
	return x;
}

HKD_FN void hkd_pause(unsigned idle)
{
	if (idle > 1000)
		__nanosleep(100);
}

/* To be stored once this block's loads of what it hands over have brought their values: those whose
 * values were used before a barrier have. */
HKD_FN void hkd_store_after_loads(uint64_t at, uint64_t x)
{
	hkd_store_relaxed(at, x);
}

/* Fewer bytes than a word. */
HKD_FN uint32_t hkd_load_u8(uint64_t at)
{
	uint16_t x;

	asm volatile("ld.volatile.global.u8 %0, [%1];" : "=h"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN uint32_t hkd_load_u16(uint64_t at)
{
	uint16_t x;

	asm volatile("ld.volatile.global.u16 %0, [%1];" : "=h"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN uint32_t hkd_load_u32(uint64_t at)
{
	uint32_t x;

	asm volatile("ld.volatile.global.u32 %0, [%1];" : "=r"(x) : "l"(at) : "memory");
	return x;
}

HKD_FN void hkd_store_u8(uint64_t at, uint32_t x)
{
	asm volatile("st.global.u8 [%0], %1;" ::"l"(at), "h"((uint16_t)x) : "memory");
}

HKD_FN void hkd_store_u16(uint64_t at, uint32_t x)
{
	asm volatile("st.global.u16 [%0], %1;" ::"l"(at), "h"((uint16_t)x) : "memory");
}

HKD_FN void hkd_store_u32(uint64_t at, uint32_t x)
{
	asm volatile("st.global.u32 [%0], %1;" ::"l"(at), "r"(x) : "memory");
}

/* A flag in the block's own memory, which several of its threads may set. */
HKD_FN void hkd_raise(uint32_t *flag)
{
	*(volatile uint32_t *)flag = 1;
}

/* 16 bytes at once. */
HKD_FN void hkd_load16(uint64_t at, uint64_t w[2])
{
	asm volatile("ld.volatile.global.v2.u64 {%0, %1}, [%2];"
		     : "=l"(w[0]), "=l"(w[1])
		     : "l"(at)
		     : "memory");
}

HKD_FN void hkd_store16(uint64_t at, const uint64_t w[2])
{
	asm volatile("st.global.v2.u64 [%0], {%1, %2};" ::"l"(at), "l"(w[0]), "l"(w[1]) : "memory");
}

/* A line's two words, each of which arrives whole. */
HKD_FN void hkd_store_line(uint64_t at, uint64_t x, uint64_t y)
{
	asm volatile("st.volatile.global.v2.u64 [%0], {%1, %2};" ::"l"(at), "l"(x), "l"(y)
		     : "memory");
}

HKD_FN void hkd_load_line(uint64_t at, uint64_t *x, uint64_t *y)
{
	asm volatile("ld.volatile.global.v2.u64 {%0, %1}, [%2];"
		     : "=l"(*x), "=l"(*y)
		     : "l"(at)
		     : "memory");
}

HKD_FN void hkd_load_line_acquire(uint64_t at, uint64_t *x, uint64_t *y)
{
	asm volatile("ld.acquire.sys.global.v2.u64 {%0, %1}, [%2];"
		     : "=l"(*x), "=l"(*y)
		     : "l"(at)
		     : "memory");
}

HKD_FN float hkd_float_of(uint32_t bits)
{
	return __uint_as_float(bits);
}

HKD_FN uint32_t hkd_bits_of(float x)
{
	return __float_as_uint(x);
}

HKD_FN double hkd_double_of(uint64_t bits)
{
	return __longlong_as_double((long long)bits);
}

HKD_FN uint64_t hkd_bits_of_double(double x)
{
	return (uint64_t)__double_as_longlong(x);
}

/* float16 by the GPU's own conversions. */
#define HKD_HAS_HALF

HKD_FN float hkd_half_widen(uint32_t code)
{
	float x;

	asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((unsigned short)code));
	return x;
}

HKD_FN uint32_t hkd_half_narrow(float x)
{
	unsigned short code;

	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(x));
	return code;
}

#else

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define HKD_FN	 static inline
#define HKD_COLD static __attribute__((noinline))
#define HKD_UNROLL
#define HKD_NO_UNROLL
#define HKD_LOOKS 64

struct hkd_barrier {
	unsigned threads;
	pthread_barrier_t barrier;
};

HKD_FN void hkd_sync(struct hkd_barrier *b)
{
	if (b->threads > 1)
		pthread_barrier_wait(&b->barrier);
}

HKD_FN uint64_t hkd_load_relaxed(uint64_t at)
{
	return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

HKD_FN uint64_t hkd_load_acquire(uint64_t at)
{
	return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

HKD_FN void hkd_store_relaxed(uint64_t at, uint64_t x)
{
	__atomic_store_n((uint64_t *)at, x, __ATOMIC_RELAXED);
}

HKD_FN void hkd_store_release(uint64_t at, uint64_t x)
{
	__atomic_store_n((uint64_t *)at, x, __ATOMIC_RELEASE);
}

HKD_FN uint64_t hkd_load_acquire_near(uint64_t at)
{
	return hkd_load_acquire(at);
}

HKD_FN void hkd_store_release_near(uint64_t at, uint64_t x)
{
	hkd_store_release(at, x);
}

HKD_FN uint64_t hkd_add_near(uint64_t at, uint64_t n)
{
	return __atomic_fetch_add((uint64_t *)at, n, __ATOMIC_ACQ_REL);
}

HKD_FN uint32_t hkd_load32(uint64_t at)
{
	return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
}

HKD_FN void hkd_store32(uint64_t at, uint32_t x)
{
	__atomic_store_n((uint32_t *)at, x, __ATOMIC_RELEASE);
}

HKD_FN int hkd_claim32(uint64_t at, uint32_t x)
{
	uint32_t none = 0;

	return __atomic_compare_exchange_n((uint32_t *)at, &none, x, 0, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

HKD_FN uint64_t hkd_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Blocks are more than cores here. */
HKD_FN void hkd_pause(unsigned idle)
{
	struct timespec nap = {0, 20000};

	if (idle < 20)
		sched_yield();
	else
		nanosleep(&nap, NULL);
}

HKD_FN void hkd_store_after_loads(uint64_t at, uint64_t x)
{
	hkd_store_release(at, x);
}

HKD_FN uint32_t hkd_load_u8(uint64_t at)
{
	return *(const volatile uint8_t *)at;
}

HKD_FN uint32_t hkd_load_u16(uint64_t at)
{
	return *(const volatile uint16_t *)at;
}

HKD_FN uint32_t hkd_load_u32(uint64_t at)
{
	return *(const volatile uint32_t *)at;
}

HKD_FN void hkd_store_u8(uint64_t at, uint32_t x)
{
	*(volatile uint8_t *)at = (uint8_t)x;
}

HKD_FN void hkd_store_u16(uint64_t at, uint32_t x)
{
	*(volatile uint16_t *)at = (uint16_t)x;
}

HKD_FN void hkd_store_u32(uint64_t at, uint32_t x)
{
	*(volatile uint32_t *)at = (uint32_t)x;
}

HKD_FN void hkd_raise(uint32_t *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

HKD_FN void hkd_load16(uint64_t at, uint64_t w[2])
{
	memcpy(w, (const void *)at, 16);
}

HKD_FN void hkd_store16(uint64_t at, const uint64_t w[2])
{
	memcpy((void *)at, w, 16);
}

HKD_FN void hkd_store_line(uint64_t at, uint64_t x, uint64_t y)
{
	hkd_store_relaxed(at, x);
	hkd_store_relaxed(at + 8, y);
}

HKD_FN void hkd_load_line(uint64_t at, uint64_t *x, uint64_t *y)
{
	*x = hkd_load_relaxed(at);
	*y = hkd_load_relaxed(at + 8);
}

HKD_FN void hkd_load_line_acquire(uint64_t at, uint64_t *x, uint64_t *y)
{
	*x = hkd_load_acquire(at);
	*y = hkd_load_acquire(at + 8);
}

HKD_FN float hkd_float_of(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

HKD_FN uint32_t hkd_bits_of(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

HKD_FN double hkd_double_of(uint64_t bits)
{
	double x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

HKD_FN uint64_t hkd_bits_of_double(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

#endif

#endif
