/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of hosts: `a:4,b:4`, or a file in either MPI's format. */
#ifndef HOCKET_TOOLS_RUN_HOSTS_H
#define HOCKET_TOOLS_RUN_HOSTS_H

struct hk_run_host {
	char *name;   /* as ssh takes it: [USER@]HOST */
	int slots;    /* ranks that it takes */
	int first, n; /* the ranks that it gets; n 0: none */
};

struct hk_run_hosts {
	struct hk_run_host *list;
	int n, slots;
};

#define HK_RUN_MOST_RANKS 4096

/* Adds the hosts of a list: HOST[:SLOTS],... ; an IPv6 address is written [ADDRESS]. Returns NULL,
 * or what is wrong, which stays until the next call. */
const char *hk_run_hosts_parse(const char *text, struct hk_run_hosts *hosts);
/* Adds those of a file: a line HOST, HOST:SLOTS or HOST slots=SLOTS each, # begins a comment. */
const char *hk_run_hosts_read(const char *path, struct hk_run_hosts *hosts);
/* Deals n ranks out in the hosts' order, each host's slots at a time. */
void hk_run_hosts_deal(struct hk_run_hosts *hosts, int n);
void hk_run_hosts_free(struct hk_run_hosts *hosts);

#endif
