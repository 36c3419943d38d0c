/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket run` gives every process the id as digits in HOCKET_ID. By hand, HOCKET_ID_FILE is a path
 * on a file system that all processes see, where process 0 leaves the id (the file must not exist)
 * and which it removes at the end; or HOCKET_ID_ADDR is a host and port where it serves it (tcp.c).
 * Who is who comes from HOCKET_RANK and HOCKET_NRANKS, or else from whichever launcher's variables
 * are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch_internal.h"

/* --- hocket run --- */

static bool hocket_here(void)
{
	return hk_launch_env("HOCKET_RANK") && hk_launch_env("HOCKET_ID");
}

static hocketResult_t open_hocket(struct hocketLaunch *l)
{
	return hk_launch_place(l, "HOCKET_RANK", "HOCKET_NRANKS");
}

static hocketResult_t share_hocket(struct hocketLaunch *l, hocketUniqueId *id)
{
	const char *text = hk_launch_env("HOCKET_ID");

	if (text && hk_launch_parse_id(text, id))
		return hocketSuccess;
	return hk_launch_fail(hocketInvalidUsage, "HOCKET_ID is not %d hexadecimal digits",
			      HK_ID_DIGITS);
}

const struct hk_way hk_way_hocket = {
	.name = "hocket",
	.here = hocket_here,
	.open = open_hocket,
	.share = share_hocket,
	.close = hk_launch_close_nothing,
};

/* --- by hand --- */

static bool hand_here(void)
{
	return hk_launch_env("HOCKET_RANK") || hk_launch_env("HOCKET_ID_FILE") ||
	       hk_launch_env("HOCKET_ID_ADDR");
}

/* The file appears under its name only when it is complete: readers never see a part of it. */
static hocketResult_t write_file(const char *path, const hocketUniqueId *id)
{
	char temporary[4096];
	int fd, err = 0;

	snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid());
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, id, sizeof(*id)) != (ssize_t)sizeof(*id) || link(temporary, path))
		err = errno;
	if (fd >= 0) {
		close(fd);
		unlink(temporary);
	}
	if (!err)
		return hocketSuccess;
	return hk_launch_fail(hocketSystemError, "cannot write the id to HOCKET_ID_FILE=%s: %s%s",
			      path, strerror(err),
			      err == EEXIST ? "; remove what an earlier run has left" : "");
}

static hocketResult_t read_file(const char *path, hocketUniqueId *id)
{
	double timeout_s = hk_launch_timeout_s(), every_s = fmin(timeout_s, 0.01);

	for (double waited_s = 0; waited_s < timeout_s; waited_s += every_s) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			ssize_t got = read(fd, id, sizeof(*id));

			close(fd);
			if (got == (ssize_t)sizeof(*id))
				return hocketSuccess;
		}
		usleep((useconds_t)(every_s * 1e6));
	}
	return hk_launch_fail(hocketRemoteError,
			      "no id came in HOCKET_ID_FILE=%s within %g s "
			      "(HOCKET_INIT_TIMEOUT_MS): is process 0 running, and does this host "
			      "see the same file?",
			      path, timeout_s);
}

static hocketResult_t share_hand(struct hocketLaunch *l, hocketUniqueId *id)
{
	const char *path = hk_launch_env("HOCKET_ID_FILE");
	const char *address = hk_launch_env("HOCKET_ID_ADDR");
	hocketResult_t result;

	if (address)
		return hk_launch_share_at_address(l, address, id);
	if (!path)
		return hk_launch_fail(hocketInvalidUsage,
				      "HOCKET_RANK is set, but none of HOCKET_ID_FILE, "
				      "HOCKET_ID_ADDR and HOCKET_ID");
	if (l->rank)
		return read_file(path, id);
	result = hk_launch_make_id(id);
	if (result == hocketSuccess)
		result = write_file(path, id);
	if (result == hocketSuccess)
		l->own_file = strdup(path);
	return result;
}

static void close_hand(struct hocketLaunch *l)
{
	if (l->own_file)
		unlink(l->own_file);
	free(l->own_file);
}

const struct hk_way hk_way_hand = {
	.name = "hand",
	.here = hand_here,
	.open = hk_launch_any_place,
	.share = share_hand,
	.close = close_hand,
};
