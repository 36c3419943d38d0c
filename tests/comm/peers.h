/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranks for the bootstrap's tests: each runs hk_boot_open, a body and hk_boot_close in a thread or
 * in a process of its own. Bodies note what is wrong with expect(), since cmocka's asserts must not
 * be used outside the test's thread; the runner asserts that nothing was.
 */
#ifndef HK_TESTS_COMM_PEERS_H
#define HK_TESTS_COMM_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "bootstrap.h"

enum { MOST_PEERS = 16 };

struct peer {
	int rank, nranks;
	uint8_t id[HK_ID_BYTES];
	int nids;     /* 0: id; else these many instead */
	uint8_t *ids; /* static memory */
	int64_t timeout_ms;
	unsigned delay_ms;				 /* before opening */
	void (*body)(struct peer *p, struct hk_boot *b); /* NULL: open and close only */
	size_t bytes;					 /* for the body */

	int err;	 /* of hk_boot_open */
	char text[512];	 /* its sentence */
	int64_t took_ms; /* hk_boot_open's time */
	char wrong[256]; /* what expect() noted first */
	bool keep_open;	 /* leave the boot in `boot` instead of closing it */
	struct hk_boot *boot;
};

/* Only loopback, and a quiet log unless asked otherwise. Before anything else. */
void peers_environment(void);
/* nranks peers that share a fresh id. */
void peers_init(struct peer *peers, int nranks, void (*body)(struct peer *, struct hk_boot *));
void peers_fresh_id(struct peer *peers, int count);
/* nranks peers that share nids fresh ids, of which each has a copy, until the next such call. */
void peers_init_parts(struct peer *peers, int nranks, int nids,
		      void (*body)(struct peer *, struct hk_boot *));
/* Runs them all in threads and waits. */
void peers_run(struct peer *peers, int count);
/* Runs and asserts that all opened and nothing was wrong. */
void peers_run_well(struct peer *peers, int count);
/* Runs nranks processes; rank 0 makes the id. A process that is killed by `killed` is fine when it
 * is rank `victim`. */
void peers_fork_well(int nranks, void (*body)(struct peer *, struct hk_boot *), size_t bytes,
		     int victim);
/* Processes then pretend to be on hosts of their own. */
extern bool peers_split_hosts;
void expect(struct peer *p, bool fine, const char *what);
/* Asks the wire for peer's dial until it has come, or for most_ms; what the last answer was. */
int await_dial(struct hk_wire *w, int peer, uint32_t tag, int64_t most_ms, int *sock);
int64_t now_ms(void);
/* Open descriptors of this process. */
int count_fds(void);
/* Waits at most ms until the failure state is set; its code. */
int await_failure(struct hk_boot *b, int64_t ms, const char **text);

#endif
