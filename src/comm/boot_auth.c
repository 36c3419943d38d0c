/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The proofs of the handshake (its messages are in boot_internal.h) and the seals of frames. All
 * are keyed BLAKE2b. The label says who speaks, so that nothing can be reflected; the whole hello
 * (purpose, ranks, tag, nonce) is under every proof, so that nothing can be used for another
 * purpose; a seal's key comes from both nonces and its number counts frames, so that no frame can
 * be replayed, reordered or moved to another connection. Comparisons take constant time.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "boot_internal.h"
#include "error.h"

int hk_auth_init(void)
{
	/* Idempotent and thread-safe; 1 when done before. */
	if (sodium_init() < 0)
		return hk_fail(EIO, "libsodium cannot start: does this process have a source of "
				    "random numbers (getrandom, /dev/urandom)?");
	return 0;
}

void hk_auth_key(const struct hk_boot_id *id, struct hk_boot_key *key)
{
	static const char label[] = "hocket bootstrap 1";
	crypto_generichash_state st;

	crypto_generichash_init(&st, id->secret, sizeof(id->secret), sizeof(key->bytes));
	crypto_generichash_update(&st, (const uint8_t *)label, sizeof(label));
	crypto_generichash_update(&st, id->token, sizeof(id->token));
	crypto_generichash_final(&st, key->bytes, sizeof(key->bytes));
	sodium_memzero(&st, sizeof(st));
}

void hk_auth_group_key(const struct hk_boot_key *keys, uint32_t count, struct hk_boot_key *key)
{
	static const char label[] = "hocket group of ids 1";
	crypto_generichash_state st;
	uint8_t n[4];

	for (unsigned i = 0; i < sizeof(n); i++)
		n[i] = (uint8_t)(count >> (8 * i));
	crypto_generichash_init(&st, keys[0].bytes, sizeof(keys[0].bytes), sizeof(key->bytes));
	crypto_generichash_update(&st, (const uint8_t *)label, sizeof(label));
	crypto_generichash_update(&st, n, sizeof(n));
	for (uint32_t i = 0; i < count; i++)
		crypto_generichash_update(&st, keys[i].bytes, sizeof(keys[i].bytes));
	crypto_generichash_final(&st, key->bytes, sizeof(key->bytes));
	sodium_memzero(&st, sizeof(st));
}

void hk_auth_split_key(const struct hk_boot_key *parent, uint32_t op, uint32_t color,
		       struct hk_boot_key *key)
{
	static const char label[] = "hocket split 1";
	crypto_generichash_state st;
	uint8_t which[8];

	for (unsigned i = 0; i < 4; i++) {
		which[i] = (uint8_t)(op >> (8 * i));
		which[4 + i] = (uint8_t)(color >> (8 * i));
	}
	crypto_generichash_init(&st, parent->bytes, sizeof(parent->bytes), sizeof(key->bytes));
	crypto_generichash_update(&st, (const uint8_t *)label, sizeof(label));
	crypto_generichash_update(&st, which, sizeof(which));
	crypto_generichash_final(&st, key->bytes, sizeof(key->bytes));
	sodium_memzero(&st, sizeof(st));
}

/* Labels have eight bytes. nonce: the server's, NULL before there is one. */
static void mac(const struct hk_boot_key *k, const char label[8], const uint8_t *hello,
		const uint8_t *nonce, uint8_t *out, size_t bytes)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, k->bytes, sizeof(k->bytes), bytes);
	crypto_generichash_update(&st, (const uint8_t *)label, 8);
	crypto_generichash_update(&st, hello, HK_HELLO_BODY);
	if (nonce)
		crypto_generichash_update(&st, nonce, 32);
	crypto_generichash_final(&st, out, bytes);
}

void hk_auth_hello(const struct hk_boot_key *k, struct hk_hello *h, uint8_t out[HK_HELLO_BYTES])
{
	randombytes_buf(h->nonce, sizeof(h->nonce));
	hk_boot_format_hello(h, out);
	mac(k, "hello   ", out, NULL, out + HK_HELLO_BODY, 32);
}

bool hk_auth_check_hello(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES])
{
	uint8_t want[32];

	mac(k, "hello   ", hello, NULL, want, sizeof(want));
	return sodium_memcmp(want, hello + HK_HELLO_BODY, sizeof(want)) == 0;
}

void hk_auth_challenge(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
		       uint8_t out[HK_CHALLENGE_BYTES])
{
	randombytes_buf(out, 32);
	mac(k, "server  ", hello, out, out + 32, 32);
}

bool hk_auth_check_challenge(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
			     const uint8_t challenge[HK_CHALLENGE_BYTES])
{
	uint8_t want[32];

	mac(k, "server  ", hello, challenge, want, sizeof(want));
	return sodium_memcmp(want, challenge + 32, sizeof(want)) == 0;
}

void hk_auth_proof(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
		   const uint8_t nonce[32], uint8_t out[HK_PROOF_BYTES])
{
	mac(k, "client  ", hello, nonce, out, HK_PROOF_BYTES);
}

bool hk_auth_check_proof(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
			 const uint8_t nonce[32], const uint8_t proof[HK_PROOF_BYTES])
{
	uint8_t want[HK_PROOF_BYTES];

	hk_auth_proof(k, hello, nonce, want);
	return sodium_memcmp(want, proof, sizeof(want)) == 0;
}

void hk_auth_session(const struct hk_boot_key *k, const uint8_t hello[HK_HELLO_BYTES],
		     const uint8_t nonce[32], bool accepted, struct hk_session *s)
{
	struct hk_seal *to_server = accepted ? &s->rx : &s->tx;
	struct hk_seal *to_client = accepted ? &s->tx : &s->rx;

	mac(k, "toserver", hello, nonce, to_server->key, sizeof(to_server->key));
	mac(k, "toclient", hello, nonce, to_client->key, sizeof(to_client->key));
	to_server->seq = to_client->seq = 0;
}

static void seal_mac(struct hk_seal *seal, const uint8_t *frame, uint32_t len, uint8_t *out)
{
	crypto_generichash_state st;
	uint8_t seq[8];

	for (unsigned i = 0; i < sizeof(seq); i++)
		seq[i] = (uint8_t)(seal->seq >> (8 * i));
	crypto_generichash_init(&st, seal->key, sizeof(seal->key), HK_FRAME_MAC);
	crypto_generichash_update(&st, seq, sizeof(seq));
	crypto_generichash_update(&st, frame, HK_FRAME_HEAD + len);
	crypto_generichash_final(&st, out, HK_FRAME_MAC);
	seal->seq++;
}

void hk_auth_seal(struct hk_seal *seal, uint8_t *frame, uint32_t len)
{
	seal_mac(seal, frame, len, frame + HK_FRAME_HEAD + len);
}

bool hk_auth_open(struct hk_seal *seal, const uint8_t *frame, uint32_t len)
{
	uint8_t want[HK_FRAME_MAC];

	seal_mac(seal, frame, len, want);
	return sodium_memcmp(want, frame + HK_FRAME_HEAD + len, sizeof(want)) == 0;
}
