/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A software switch: a participant that reduces for the ranks of jobs, in a process of its own. The
 * command `hocket switch` is this interface and little else; docs/switch.md says how jobs use it.
 *
 * Every function returns hocketSuccess or says why not: hocketGetLastError(NULL) has the sentence.
 */
#ifndef HOCKET_SWITCH_H
#define HOCKET_SWITCH_H

#include <hocket/hocket.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hocketSwitch *hocketSwitch_t;

/* How a switch is opened. Set size to sizeof(hocketSwitchConfig_t) and what is not needed to 0. */
typedef struct {
	size_t size;
	const char *listen;  /* host:port or [address]:port; port 0: any that is free */
	const char *keyFile; /* 64 hexadecimal digits, readable by its owner alone */
	const char *name;    /* in messages, up to 31 characters; NULL: the host's name */
	int maxJobs;	     /* that it serves at a time, 1 to 1024; 0: 64 */
} hocketSwitchConfig_t;

/* Writes a fresh secret to a new file that its owner alone can read. hocketSystemError if the file
 * exists. Switches and the ranks 0 of their jobs need the same file (HOCKET_SWITCH_KEY). */
HOCKET_API hocketResult_t hocketSwitchMakeKey(const char *keyFile);
/* Reads the key and listens. */
HOCKET_API hocketResult_t hocketSwitchOpen(const hocketSwitchConfig_t *config, hocketSwitch_t *sw);
/* Writes "address:port" where it listens, for HOCKET_SWITCHES. 64 bytes suffice. */
HOCKET_API hocketResult_t hocketSwitchAddress(hocketSwitch_t sw, char *text, size_t size);
/* Serves jobs until stopFd (-1: for ever) can be read. Jobs that still run then lose the switch,
 * and go on without it. To be called once. */
HOCKET_API hocketResult_t hocketSwitchServe(hocketSwitch_t sw, int stopFd);
/* Jobs being served, and calls run for all jobs so far; any thread may ask. Either may be NULL. */
HOCKET_API hocketResult_t hocketSwitchLoad(hocketSwitch_t sw, int *jobs, uint64_t *calls);
/* Closes and frees a switch that nobody serves any more. NULL is fine. */
HOCKET_API hocketResult_t hocketSwitchClose(hocketSwitch_t sw);

#ifdef __cplusplus
}
#endif

#endif
