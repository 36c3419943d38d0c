/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys, addresses and jobs: what rank 0 and a switch share or say before they trust each other. See
 * job.h. A job, in plain text, is little-endian and of fixed size:
 *
 *   id 128 | version 4 | nranks 4 | nswitches 4 | index 4 | parent 4 (all ones: none) |
 *   timeout_ms 4 | init_timeout_ms 4 | channels 1, slots 3 | slot_bytes 4 | transports 128
 */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot_internal.h"
#include "error.h"

#define JOB_VERSION 1

/* --- keys --- */

static void derive(const uint8_t secret[32], const char *label, uint8_t out[32])
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, secret, 32, 32);
	crypto_generichash_update(&st, (const uint8_t *)label, strlen(label));
	crypto_generichash_final(&st, out, 32);
	sodium_memzero(&st, sizeof(st));
}

/* Like the private keys of ssh: what others can read is no secret. */
static int check_file(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st))
		return hk_fail(errno, "the key file %s cannot be examined: %s", path,
			       strerror(errno));
	if (!S_ISREG(st.st_mode))
		return hk_fail(EINVAL, "the key file %s is no regular file", path);
	if (st.st_mode & 077)
		return hk_fail(EACCES,
			       "the key file %s can be read by others, so it holds no secret; make "
			       "a new one (hocket switch --make-key FILE), or chmod 600 it",
			       path);
	return 0;
}

static int read_digits(const char *path, char text[80], size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	ssize_t n;

	if (fd < 0)
		return hk_fail(errno,
			       "the key file %s cannot be opened: %s; HOCKET_SWITCH_KEY names it, "
			       "and hocket switch --make-key FILE makes one",
			       path, strerror(errno));
	err = check_file(fd, path);
	n = err ? 0 : read(fd, text, 80);
	if (n < 0)
		err = hk_fail(errno, "the key file %s cannot be read: %s", path, strerror(errno));
	close(fd);
	*len = n > 0 ? (size_t)n : 0;
	return err;
}

int hk_switch_key_read(const char *path, struct hk_switch_key *key)
{
	uint8_t secret[32];
	char text[80];
	size_t len = 0, got = 0;
	int err = hk_auth_init();

	if (!err)
		err = read_digits(path, text, &len);
	if (err)
		return err;
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
		len--;
	if (sodium_hex2bin(secret, sizeof(secret), text, len, NULL, &got, NULL) || got != 32 ||
	    len != 64)
		err = hk_fail(EINVAL, "the key file %s is not 64 hexadecimal digits", path);
	if (!err) {
		derive(secret, "hocket switch door 1", key->door);
		derive(secret, "hocket switch job 1", key->jobs);
	}
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(text, sizeof(text));
	return err;
}

int hk_switch_key_make(const char *path)
{
	uint8_t secret[32];
	char text[66];
	int fd, err = hk_auth_init();

	if (err)
		return err;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return hk_fail(errno, "the key file %s cannot be made: %s", path, strerror(errno));
	randombytes_buf(secret, sizeof(secret));
	sodium_bin2hex(text, sizeof(text), secret, sizeof(secret));
	text[64] = '\n';
	if (write(fd, text, 65) != 65)
		err = hk_fail(errno ? errno : EIO, "the key file %s cannot be written: %s", path,
			      strerror(errno));
	if (close(fd) && !err)
		err = hk_fail(errno, "the key file %s cannot be written: %s", path,
			      strerror(errno));
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(text, sizeof(text));
	return err;
}

/* --- the job --- */

static uint8_t *put4(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
	return p + 4;
}

static uint32_t get4(const uint8_t **p)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++)
		v |= (uint32_t)(*p)[i] << (8 * i);
	*p += 4;
	return v;
}

void hk_job_format(const struct hk_job *o, uint8_t out[HK_JOB_BODY])
{
	uint8_t *p = out;

	memcpy(p, o->id, HK_ID_BYTES);
	p = put4(p + HK_ID_BYTES, JOB_VERSION);
	p = put4(p, o->nranks);
	p = put4(p, o->nswitches);
	p = put4(p, o->index);
	p = put4(p, (uint32_t)o->parent);
	p = put4(p, o->timeout_ms);
	p = put4(p, o->init_timeout_ms);
	p = put4(p, o->channels | o->slots << 8);
	p = put4(p, o->slot_bytes);
	memset(p, 0, HK_JOB_TRANSPORTS);
	memcpy(p, o->transports, strnlen(o->transports, HK_JOB_TRANSPORTS - 1));
}

/* Names, commas, and zeroes from the first on. */
static bool is_list(const char *text)
{
	size_t len = strnlen(text, HK_JOB_TRANSPORTS);

	if (len == HK_JOB_TRANSPORTS)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!(text[i] >= 'a' && text[i] <= 'z') && text[i] != ',' && text[i] != '_')
			return false;
	return true;
}

int hk_job_parse(const uint8_t *p, size_t n, struct hk_job *o)
{
	struct hk_job got = {.nranks = 0};
	uint32_t packed, all;

	if (n != HK_JOB_BODY)
		return -HK_EWIRE;
	memcpy(got.id, p, HK_ID_BYTES);
	p += HK_ID_BYTES;
	if (get4(&p) != JOB_VERSION)
		return -HK_EWIRE;
	got.nranks = get4(&p);
	got.nswitches = get4(&p);
	got.index = get4(&p);
	got.parent = (int32_t)get4(&p);
	got.timeout_ms = get4(&p);
	got.init_timeout_ms = get4(&p);
	packed = get4(&p);
	got.channels = packed & 0xff;
	got.slots = packed >> 8;
	got.slot_bytes = get4(&p);
	memcpy(got.transports, p, HK_JOB_TRANSPORTS);
	if (got.nranks < 2 || got.nswitches < 1 || got.nswitches > HK_SWITCH_MAX ||
	    got.nranks > HK_BOOT_MAX_RANKS - got.nswitches || got.index >= got.nswitches)
		return -HK_EWIRE;
	all = got.nranks + got.nswitches;
	if (got.parent != -1 && (got.parent < (int32_t)got.nranks || got.parent >= (int32_t)all ||
				 got.parent == (int32_t)(got.nranks + got.index)))
		return -HK_EWIRE;
	if (got.timeout_ms < 1 || got.timeout_ms > INT32_MAX || got.init_timeout_ms < 1 ||
	    got.init_timeout_ms > INT32_MAX || got.channels > 16 || got.slots < 2 ||
	    got.slots > 16 || got.slot_bytes < 4096 || got.slot_bytes > 1u << 22 ||
	    got.slot_bytes % 4096 || !is_list(got.transports))
		return -HK_EWIRE;
	*o = got;
	return 0;
}

void hk_job_seal(const struct hk_switch_key *key, const struct hk_job *o, uint8_t out[HK_JOB_BYTES])
{
	uint8_t plain[HK_JOB_BODY];

	_Static_assert(crypto_secretbox_NONCEBYTES == 24 && crypto_secretbox_MACBYTES == 16 &&
			       crypto_secretbox_KEYBYTES == 32,
		       "HK_JOB_BYTES counts them");
	_Static_assert(HK_JOB_BYTES <= HK_CONTROL_MAX, "a job fits a frame");
	hk_job_format(o, plain);
	randombytes_buf(out, 24);
	crypto_secretbox_easy(out + 24, plain, sizeof(plain), out, key->jobs);
	sodium_memzero(plain, sizeof(plain));
}

int hk_job_open(const struct hk_switch_key *key, const uint8_t *p, size_t n, struct hk_job *o)
{
	uint8_t plain[HK_JOB_BODY];
	int err;

	if (n != HK_JOB_BYTES)
		return -HK_EWIRE;
	if (crypto_secretbox_open_easy(plain, p + 24, n - 24, p, key->jobs))
		return -HK_EAUTH;
	err = hk_job_parse(plain, sizeof(plain), o);
	sodium_memzero(plain, sizeof(plain));
	return err;
}

/* --- addresses --- */

static bool take_addr(const struct sockaddr *sa, struct hk_boot_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		out->family = 4;
		out->port = ntohs(in.sin_port);
		memcpy(out->ip, &in.sin_addr, 4);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		out->family = 6;
		out->port = ntohs(in6.sin6_port);
		memcpy(out->ip, &in6.sin6_addr, 16);
		return true;
	}
	return false;
}

int hk_switch_resolve(const char *text, struct hk_boot_addr addr[HK_BOOT_ADDRS])
{
	const struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	struct addrinfo *list = NULL;
	char host[256];
	unsigned n = 0;
	int rc;

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!len || len >= sizeof(host) || !colon[1])
		return hk_fail(EINVAL,
			       "'%s' is no address of a switch: it must be host:port, as in "
			       "10.0.0.1:4711 or [fd00::1]:4711",
			       text);
	memcpy(host, text, len);
	host[len] = 0;
	rc = getaddrinfo(host, colon + 1, &want, &list);
	if (rc)
		return hk_fail(EINVAL, "the switch's host '%s', port '%s', is not known: %s", host,
			       colon + 1, gai_strerror(rc));
	memset(addr, 0, HK_BOOT_ADDRS * sizeof(*addr));
	for (struct addrinfo *i = list; i && n < HK_BOOT_ADDRS; i = i->ai_next)
		n += take_addr(i->ai_addr, &addr[n]);
	freeaddrinfo(list);
	return n ? 0 : hk_fail(EINVAL, "the switch's host '%s' has no address", host);
}
