/* SPDX-License-Identifier: BSD-3-Clause */
/* Passes on what watched processes print, line by line, so that lines of different processes do not
 * mix, with a prefix if wanted. */
#ifndef HOCKET_TOOLS_RUN_OUTPUT_H
#define HOCKET_TOOLS_RUN_OUTPUT_H

#include <poll.h>

/* What `hocket run` on a host tells the one that has started it follows this mark in a line on
 * standard error, up to the line's end, and is not printed. */
#define HK_RUN_MARK "\036hocket-run "

struct hk_run_output;

/* told: called for each line after a mark; NULL: marks are nothing special. */
struct hk_run_output *hk_run_output_open(void (*told)(void *to, int child, const char *text),
					 void *to);
/* Prints what comes at fd, which becomes its own also on failure, to sink. prefix is copied; ""
 * for none. 0, or -1 when there is no memory. */
int hk_run_output_add(struct hk_run_output *o, int child, int fd, int sink, const char *prefix);
/* Fills at most `most` entries for poll; returns how many. o may be NULL: none. */
int hk_run_output_poll(const struct hk_run_output *o, struct pollfd *fds, int most);
/* How many entries it takes. */
int hk_run_output_count(const struct hk_run_output *o);
/* Takes all that is there, without waiting. */
void hk_run_output_read(struct hk_run_output *o);
/* Also prints lines that have no end yet. */
void hk_run_output_close(struct hk_run_output *o);

#endif
