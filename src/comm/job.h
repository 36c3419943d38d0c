/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a job and a switch say to each other before they have a communicator in common. Both know a
 * secret of 256 bits, from a file. Rank 0 dials the switch with the handshake of boot_internal.h,
 * under a key derived from that secret, and then:
 *
 *   rank 0 -> switch   job     the unique id of a second communicator ("fabric", fabric.h) that the
 *                              ranks and the switches are to form, and the switch's place in it;
 *                              sealed and encrypted, as the id is itself a secret
 *   switch -> rank 0   ok      it will; or an error with its sentence
 *   rank 0 -> switch   ok      all switches have agreed: join. If it closes instead, nothing was
 *
 * After that the switch is a participant like any other.
 */
#ifndef HK_COMM_JOB_H
#define HK_COMM_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bootstrap.h"

#define HK_SWITCH_MAX	  64 /* switches of one job */
#define HK_SWITCH_NAME	  32
#define HK_JOB_TRANSPORTS 128
#define HK_JOB_BODY	  (HK_ID_BYTES + 9 * 4 + HK_JOB_TRANSPORTS)
#define HK_JOB_BYTES	  (24 + 16 + HK_JOB_BODY) /* nonce, authenticator */
#define HK_HANDOVER_NS	  10000000000LL		  /* most that handing over may take */

/* The keys that are made from the secret. */
struct hk_switch_key {
	uint8_t door[32]; /* of the handshake */
	uint8_t jobs[32]; /* of what jobs are encrypted with */
};

struct hk_job {
	uint8_t id[HK_ID_BYTES];
	uint32_t nranks, nswitches;
	uint32_t index; /* it is participant nranks + index */
	int32_t parent; /* the participant above it, or -1 */
	/* The fabric's configuration (hocketConfig_t). */
	uint32_t timeout_ms, init_timeout_ms, channels, slots, slot_bytes;
	char transports[HK_JOB_TRANSPORTS]; /* as HOCKET_TRANSPORTS; "": all */
};

/* Reads a key file: 64 hexadecimal digits, readable by its owner alone. -errno with a sentence. */
int hk_switch_key_read(const char *path, struct hk_switch_key *key);
/* Writes a fresh one; never over an existing file. */
int hk_switch_key_make(const char *path);

void hk_job_seal(const struct hk_switch_key *key, const struct hk_job *o,
		 uint8_t out[HK_JOB_BYTES]);
/* 0, -HK_EAUTH or -HK_EWIRE, without a sentence. */
int hk_job_open(const struct hk_switch_key *key, const uint8_t *p, size_t n, struct hk_job *o);
/* The plain text, for the two above; pure. */
void hk_job_format(const struct hk_job *o, uint8_t out[HK_JOB_BODY]);
int hk_job_parse(const uint8_t *p, size_t n, struct hk_job *o);

/* --- handover.c: what rank 0 does --- */

struct hk_handover;
/*
 * Offers the job to each of o->nswitches switches in turn (index and parent are filled in here),
 * and waits until all have agreed. parent[i] is the participant above switch i. When it fails, no
 * switch will join.
 */
int hk_handover_begin(const struct hk_switch_key *key, const struct hk_job *o,
		      const char *const *addresses, const int *parent, struct hk_handover **h);
/* Tells them to join, or (go false) that it will come to nothing. Frees; NULL is fine. */
void hk_handover_end(struct hk_handover *h, bool go);

#endif
