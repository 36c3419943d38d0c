/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unique id. Its layout is in boot_format.c: a fresh 256-bit secret, a random token, and the
 * addresses where the root thread of its maker listens, loopback among them so that one host
 * without a network works too. Whoever has the 128 bytes may join, so they travel on a channel that
 * the job trusts.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "boot_internal.h"
#include "error.h"

int hk_id_read(const uint8_t bytes[HK_ID_BYTES], struct hk_boot_id *id)
{
	if (sodium_is_zero(bytes, HK_ID_BYTES))
		return hk_fail(EINVAL, "the unique id is all zeroes: one rank must make it with "
				       "hocketGetUniqueId and hand it to the others");
	if (hk_boot_parse_id(bytes, HK_ID_BYTES, id))
		return hk_fail(EINVAL, "the unique id is damaged or of another version of Hocket: "
				       "all 128 bytes must arrive as hocketGetUniqueId wrote them");
	return 0;
}

int hk_boot_unique_id(uint8_t bytes[HK_ID_BYTES])
{
	struct hk_boot_id id;
	int fds[HK_BOOT_ADDRS];
	unsigned count;
	int err = hk_auth_init();

	if (err)
		return err;
	memset(&id, 0, sizeof(id));
	randombytes_buf(id.secret, sizeof(id.secret));
	randombytes_buf(id.token, sizeof(id.token));
	err = hk_net_listen(id.addr, HK_BOOT_ADDRS, fds, &count);
	if (!err)
		err = hk_root_start(&id, fds, count);
	if (!err)
		hk_boot_format_id(&id, bytes);
	sodium_memzero(&id, sizeof(id));
	return err;
}
