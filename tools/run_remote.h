/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket run --hosts`: one connection a host, over which `hocket run --agent` is started there.
 *
 * The agent reads what it is to do from its standard input, as fields that end with a 0 byte, in
 * this order:
 *
 *     HK_RUN_WIRE; the host's name; its first rank, its number of ranks, the number of all ranks;
 *     how to bind (enum hk_run_bind); whether lines get a prefix; the working folder; the number of
 *     variables and each as NAME=VALUE; the number of arguments and each; "end"
 *
 * and after them commands, a line each: `id DIGITS`, which starts the ranks, and `signal NUMBER`.
 * The end of its input ends its ranks. It answers with lines after HK_RUN_MARK on standard error:
 * `started`, from the host of rank 0 `id DIGITS` of the id that it has made, and `failed STATUS` at
 * the first failure of a rank. Thus the id's root is on a host that the others reach anyway, and no
 * secret is ever an argument.
 */
#ifndef HOCKET_TOOLS_RUN_REMOTE_H
#define HOCKET_TOOLS_RUN_REMOTE_H

#include <stdbool.h>

#include "run_hosts.h"
#include "run_ranks.h"

#define HK_RUN_WIRE	  "hocket-run-1"
#define HK_RUN_MOST_BYTES 60000 /* of the fields: what a pipe takes while nobody reads yet */

struct hk_run_remote {
	const struct hk_run_hosts *hosts; /* with ranks dealt out */
	struct hk_run_ranks ranks;	  /* of all hosts together */
	const char *ssh;		  /* a command that host and command line are added to */
	const char *self;		  /* this command's path here */
	const char *hocket;		  /* and on the hosts */
	char **names;			  /* -x: NAME or NAME=VALUE, ended by NULL */
	double timeout_s;		  /* 0: none */
};

/* Returns the exit status. */
int hk_run_remote(const struct hk_run_remote *r);
/* The other end. Returns the exit status. */
int hk_run_agent(void);

#endif
