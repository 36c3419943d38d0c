/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads a whole file that a user named: bounded, and never a device or a pipe that would not end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "text.h"

static int read_all(int fd, const char *path, char *text, size_t capacity, size_t *size)
{
	size_t got = 0;
	ssize_t n;

	while (got < capacity && (n = read(fd, text + got, capacity - got)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return hk_fail(errno, "reading %s: %s", path, strerror(errno));
		got += (size_t)n;
	}
	text[got] = 0;
	*size = got;
	return 0;
}

int hk_text_slurp(const char *path, size_t max, char **text, size_t *size)
{
	/* Nonblocking: opening a named pipe must not wait for somebody to write. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
	struct stat st;
	char *buffer;

	if (fd < 0)
		return hk_fail(errno, "cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		err = hk_fail(EINVAL, "%s is no regular file", path);
		goto close;
	}
	if (st.st_size < 0 || (uint64_t)st.st_size > max) {
		err = hk_fail(EFBIG, "%s has %lld bytes: at most %zu are read", path,
			      (long long)st.st_size, max);
		goto close;
	}
	buffer = malloc((size_t)st.st_size + 1);
	if (!buffer) {
		err = hk_fail(ENOMEM, "no memory for the %lld bytes of %s", (long long)st.st_size,
			      path);
		goto close;
	}
	err = read_all(fd, path, buffer, (size_t)st.st_size, size);
	if (err)
		free(buffer);
	else
		*text = buffer;
close:
	close(fd);
	return err;
}
