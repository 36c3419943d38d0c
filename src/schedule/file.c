/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a schedule from a file: reading files and directories, the limits that bound what a
 * file can make the library do, and the proof.
 */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

int hk_file_fail(const char *source, unsigned line, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return hk_fail_quiet(EINVAL, "%s:%u: %s", source, line, text);
}

void hk_schedule_free(struct hk_schedule *s)
{
	if (!s)
		return;
	for (int i = 0; s->programs && i < s->n; i++)
		hk_program_free(s->programs[i]);
	free(s->programs);
	free(s);
}

int hk_file_check_limits(const struct hk_schedule *s, const char *source)
{
	uint64_t chunks = 0, moves = 0, steps = 0, lanes = 1;

	for (int i = 0; i < s->n; i++) {
		const struct hk_program *prog = s->programs[i];

		for (unsigned b = HK_IN; b < HK_NBUFS; b++)
			chunks += prog->nchunks[b];
		for (uint32_t k = 0; k < prog->nsteps; k++)
			moves += prog->steps[k].nchunks;
		steps += prog->nsteps;
		lanes = prog->nlanes > lanes ? prog->nlanes : lanes;
	}
	if (chunks > HK_FILE_CHUNKS)
		return hk_fail_quiet(EINVAL, "%s: buffers of %llu chunks together are more than %d",
				     source, (unsigned long long)chunks, HK_FILE_CHUNKS);
	if (moves > HK_FILE_MOVES)
		return hk_fail_quiet(EINVAL, "%s: steps that move %llu chunks are more than %d",
				     source, (unsigned long long)moves, HK_FILE_MOVES);
	if (steps * lanes > HK_FILE_CLOCKS)
		return hk_fail_quiet(EINVAL,
				     "%s: %llu steps in programs of up to %llu lanes are too much "
				     "to prove",
				     source, (unsigned long long)steps, (unsigned long long)lanes);
	return 0;
}

static int read_all(FILE *f, const char *path, char **text, size_t *length)
{
	size_t max = 1 << 16, n = 0;
	char *t = malloc(max), *more;

	while (t) {
		n += fread(t + n, 1, max - n, f);
		if (n < max)
			break;
		if (max >= HK_FILE_BYTES) {
			free(t);
			return hk_fail_quiet(EFBIG, "%s: is longer than %d MiB", path,
					     HK_FILE_BYTES >> 20);
		}
		max *= 2;
		more = realloc(t, max);
		if (!more)
			free(t);
		t = more;
	}
	if (!t)
		return hk_fail_quiet(ENOMEM, "%s: no memory to read it", path);
	if (ferror(f)) {
		free(t);
		return hk_fail_quiet(EIO, "%s: cannot be read", path);
	}
	*text = t;
	*length = n;
	return 0;
}

static bool is_xml(const char *text, size_t length)
{
	size_t i = length >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;

	while (i < length && strchr(" \t\r\n", text[i]) && text[i])
		i++;
	return i < length && text[i] == '<';
}

int hk_schedule_load(const char *path, struct hk_schedule **s)
{
	/* Nonblocking: opening a named pipe must not wait for somebody to write. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t length = 0;
	char *text = NULL;
	struct stat st;
	FILE *f;
	int rc;

	if (fd < 0)
		return hk_fail_quiet(errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return hk_fail_quiet(EINVAL, "%s: is no regular file", path);
	}
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return hk_fail_quiet(ENOMEM, "%s: no memory to read it", path);
	}
	rc = read_all(f, path, &text, &length);
	fclose(f);
	if (rc)
		return rc;
	if (is_xml(text, length))
		rc = hk_msccl_read(text, length, path, s);
	else
		rc = hk_schedule_read(text, length, path, s);
	free(text);
	return rc;
}

static int is_schedule(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return dot && dot != d->d_name && (!strcmp(dot, ".xml") || !strcmp(dot, ".hks"));
}

/* By bytes, not by the locale, which may differ between ranks. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int hk_schedule_load_all(const char *dir, hk_schedule_each *each, void *arg)
{
	struct dirent **names;
	int n = scandir(dir, &names, is_schedule, by_name);

	if (n < 0)
		return hk_fail_quiet(errno, "%s: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		struct hk_schedule *s = NULL;
		char *path = NULL;

		if (asprintf(&path, "%s/%s", dir, names[i]->d_name) < 0)
			path = NULL;
		if (path)
			hk_schedule_load(path, &s);
		else
			hk_fail_quiet(ENOMEM, "no memory for a file's name");
		each(arg, path ? path : names[i]->d_name, s);
		free(path);
		free(names[i]);
	}
	free(names);
	return 0;
}

struct hk_problem hk_schedule_problem(const struct hk_schedule *s, bool inplace)
{
	struct hk_problem p = s->problem;

	p.inplace = inplace;
	return p;
}

int hk_schedule_prove(const struct hk_schedule *s, unsigned max_slots, struct hk_report *report)
{
	unsigned slots = 0;

	for (int inplace = 0; inplace <= 1; inplace++) {
		struct hk_problem p = hk_schedule_problem(s, inplace);
		int rc;

		if (!(inplace ? s->inplace : s->outofplace))
			continue;
		rc = hk_check_any_order(&p, s->programs, s->n, max_slots, report);
		if (rc)
			return rc;
		slots = report->slots > slots ? report->slots : slots;
	}
	report->slots = slots;
	return 0;
}

uint32_t hk_schedule_channels(const struct hk_schedule *s)
{
	uint32_t most = 0;

	for (int i = 0; i < s->n; i++)
		for (uint32_t l = 0; l < s->programs[i]->nlanes; l++)
			if (s->programs[i]->lanes[l].channel >= most)
				most = s->programs[i]->lanes[l].channel + 1;
	return most;
}

uint64_t hk_schedule_bytes(const struct hk_problem *p, uint64_t block)
{
	uint64_t in = hk_coll_blocks(p, p->root, HK_IN), out = hk_coll_blocks(p, p->root, HK_OUT);
	uint64_t blocks = in > out ? in : out;

	return block && blocks > UINT64_MAX / block ? UINT64_MAX : block * blocks;
}
