/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for whatever must run at the same time. Blocks of kernels wait for each other, so that a
 * task may never wait for a thread: there is one more thread whenever all are busy, and they stay.
 */
#include "fake.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
	pthread_cond_t work;
	struct fake_task *first, *last;
	unsigned queued, idle, nthreads, room;
	bool stop;
	pthread_t *threads;
} pool = {.work = PTHREAD_COND_INITIALIZER};

static void *worker(void *arg)
{
	pthread_mutex_lock(&fake.lock);
	for (;;) {
		struct fake_task *t;

		while (!pool.first && !pool.stop)
			pthread_cond_wait(&pool.work, &fake.lock);
		t = pool.first;
		if (!t)
			break;
		pool.first = t->next;
		pool.queued--;
		pool.idle--;
		pthread_mutex_unlock(&fake.lock);
		t->run(t);
		pthread_mutex_lock(&fake.lock);
		pool.idle++;
	}
	pthread_mutex_unlock(&fake.lock);
	return NULL;
}

static void add_thread(void)
{
	sigset_t all, old;

	if (pool.nthreads == pool.room) {
		pool.room = pool.room ? 2 * pool.room : 16;
		pool.threads = fake_realloc(pool.threads, pool.room * sizeof *pool.threads);
	}
	/* Signals are for the threads of the program. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&pool.threads[pool.nthreads], NULL, worker, NULL)) {
		fprintf(stderr, "fakecuda: no thread number %u\n", pool.nthreads + 1);
		abort();
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pool.nthreads++;
	pool.idle++;
}

void fake_pool_submit(struct fake_task *task)
{
	task->next = NULL;
	if (pool.first)
		pool.last->next = task;
	else
		pool.first = task;
	pool.last = task;
	/* Each idle thread takes one; those that were woken and have not come yet still count. */
	if (++pool.queued > pool.idle)
		add_thread();
	pthread_cond_signal(&pool.work);
}

void fake_pool_stop(void)
{
	pool.stop = true;
	pthread_cond_broadcast(&pool.work);
	pthread_mutex_unlock(&fake.lock);
	for (unsigned i = 0; i < pool.nthreads; i++)
		pthread_join(pool.threads[i], NULL);
	pthread_mutex_lock(&fake.lock);
	free(pool.threads);
	pool.threads = NULL;
	pool.nthreads = 0;
}
