/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file of what was measured: a line for each number, in whole picoseconds (or bytes), so that
 * no decimal point depends on a locale. Its name holds a hash of the machine and of the library's
 * version, so that a home directory may serve many machines.
 *
 * A file may be damaged, old or somebody else's. It is read only if it is a small plain file of
 * this user or of root, and believed only if every number is there once, within bounds.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "measured.h"
#include "param.h"
#include "topo.h"

#define FORMAT	   1
#define FILE_BYTES 16384

struct field {
	const char *name, *unit, *help;
	size_t at;
	double scale; /* what is written is the value times this */
};

#define NS	    1000.0 /* ns are written as ps */
#define MOST_NS	    1e9
#define MOST_BYTES  1e15
#define HOST(field) offsetof(struct hk_machine, field)
#define WAY(field)  offsetof(struct hk_route, field)

static const struct field host_fields[] = {
	{"call_ps", "ns", "a call, besides its steps", HOST(call_ns), NS},
	{"step_ps", "ns", "a step without a message", HOST(step_ns), NS},
	{"chunk_ps", "ns", "each chunk of a step", HOST(chunk_ns), NS},
	{"switch_ps", "ns", "from one rank to another on a core", HOST(switch_ns), NS},
	{"copy_ps_per_byte", "ns/B", "copied in the cache", HOST(copy_ns_per_byte), NS},
	{"reduce_ps_per_byte", "ns/B", "reduced rather than copied, more", HOST(reduce_ns_per_byte),
	 NS},
	{"memory_ps_per_byte", "ns/B", "in no cache, more", HOST(memory_ns_per_byte), NS},
	{"spread_bytes", "B", "slots of a core that cost no more", HOST(spread_bytes), 1},
	{"spread_ps_per_byte", "ns/B", "more, for each doubling of them", HOST(spread_ns_per_byte),
	 NS},
	{"cache_bytes", "B", "the last cache", HOST(cache_bytes), 1},
};

static const struct field route_fields[] = {
	{"latency_ps", "ns", "from a send to its receive", WAY(latency_ns), NS},
	{"message_ps", "ns", "a step that sends or receives", WAY(message_ns), NS},
	{"slot_ps", "ns", "more, of more than 48 bytes", WAY(slot_ns), NS},
	{"fill_ps_per_byte", "ns/B", "a slot filled", WAY(fill_ns_per_byte), NS},
	{"read_ps_per_byte", "ns/B", "a slot read", WAY(read_ns_per_byte), NS},
	{"link_ps_per_byte", "ns/B", "on a link that ranks share", WAY(link_ns_per_byte), NS},
	{"lend_bytes", "B", "read in place from this size on; 0: never", WAY(lend_bytes), 1},
	{"lend_ps", "ns", "a message read in place", WAY(lend_ns), NS},
	{"lend_ps_per_byte", "ns/B", "read in place", WAY(lend_ns_per_byte), NS},
};

#define NHOST  (sizeof(host_fields) / sizeof(host_fields[0]))
#define NROUTE (sizeof(route_fields) / sizeof(route_fields[0]))

static double *number(void *of, const struct field *f)
{
	return (double *)((char *)of + f->at);
}

void hk_measured_default(struct hk_measured *m)
{
	memset(m, 0, sizeof(*m));
	hk_tune_machine_default(&m->machine);
}

const struct hk_route *hk_measured_find(const struct hk_measured *m, const char *transport)
{
	for (unsigned i = 0; i < m->nroutes; i++)
		if (!strcmp(m->routes[i].transport, transport))
			return &m->routes[i].route;
	return NULL;
}

void hk_measured_describe(const struct hk_measured *m,
			  void (*row)(void *arg, const char *of, const char *name, double value,
				      const char *unit, const char *help),
			  void *arg)
{
	struct hk_measured copy = *m;

	for (unsigned i = 0; i < NHOST; i++)
		row(arg, "host", host_fields[i].name, *number(&copy.machine, &host_fields[i]),
		    host_fields[i].unit, host_fields[i].help);
	for (unsigned r = 0; r < m->nroutes; r++)
		for (unsigned i = 0; i < NROUTE; i++)
			row(arg, m->routes[r].transport, route_fields[i].name,
			    *number(&copy.routes[r].route, &route_fields[i]), route_fields[i].unit,
			    route_fields[i].help);
}

/* --- where --- */

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ull; /* FNV-1a */
	return h;
}

uint64_t hk_cache_key(void)
{
	static const char version[] = HK_VERSION;
	uint64_t numbers[4], h;
	struct hk_host host;

	hk_topo_host(&host);
	numbers[0] = host.processors;
	numbers[1] = host.cores;
	numbers[2] = host.l2_bytes;
	numbers[3] = host.l3_bytes;
	h = hash(0xcbf29ce484222325ull, version, sizeof(version));
	h = hash(h, numbers, sizeof(numbers));
	return hash(h, host.model, strlen(host.model));
}

int hk_cache_path(char path[HK_CACHE_PATH_BYTES])
{
	const char *xdg = hk_param_str(HK_PARAM_CACHE_HOME);
	const char *home = hk_param_str(HK_PARAM_HOME);
	int n;

	/* The XDG specification: a path that is not absolute is to be ignored. */
	if (xdg && *xdg != '/')
		xdg = NULL;
	if (!xdg && (!home || *home != '/'))
		return hk_fail_quiet(ENOENT, "neither XDG_CACHE_HOME nor HOME is an absolute path, "
					     "so there is no place for measurements");
	n = snprintf(path, HK_CACHE_PATH_BYTES, "%s%s/hocket/machine-%016" PRIx64 ".txt",
		     xdg ? xdg : home, xdg ? "" : "/.cache", hk_cache_key());
	if (n >= HK_CACHE_PATH_BYTES)
		return hk_fail_quiet(ENAMETOOLONG, "XDG_CACHE_HOME or HOME is too long");
	return 0;
}

/* --- reading --- */

struct reader {
	const char *path;
	struct hk_measured m;
	unsigned line;
	bool began, keyed, ended;
	const struct field *fields; /* of the section */
	unsigned nfields;
	void *into;
	uint32_t seen; /* fields of the section */
};

static int damaged(const struct reader *r, const char *what)
{
	hk_log(HK_LOG_WARN, "%s, line %u: %s; it is ignored, and `hocket tune` makes a new one",
	       r->path, r->line, what);
	return hk_fail_quiet(EINVAL, "%s, line %u: %s", r->path, r->line, what);
}

static int end_section(const struct reader *r)
{
	if (r->fields && r->seen != (1u << r->nfields) - 1)
		return damaged(r, "a number is missing before this line");
	return 0;
}

static int begin_route(struct reader *r, const char *name)
{
	struct hk_measured_route *route = &r->m.routes[r->m.nroutes];
	int err = end_section(r);

	if (err)
		return err;
	if (r->m.nroutes == HK_MEASURED_ROUTES)
		return damaged(r, "there are too many routes");
	if (!*name || strlen(name) >= HK_TRANSPORT_NAME || hk_measured_find(&r->m, name))
		return damaged(r, "that is no transport, or one a second time");
	strcpy(route->transport, name);
	r->m.nroutes++;
	r->fields = route_fields;
	r->nfields = NROUTE;
	r->into = &route->route;
	r->seen = 0;
	return 0;
}

/* Decimal digits alone, at most 15 of them. */
static int parse_number(const char *text, double *value)
{
	uint64_t n = 0;
	size_t digits = strspn(text, "0123456789");

	if (!digits || digits > 15 || text[digits])
		return -EINVAL;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (uint64_t)(text[i] - '0');
	*value = (double)n;
	return 0;
}

static int read_field(struct reader *r, const char *name, const char *text)
{
	double value = 0;

	for (unsigned i = 0; i < r->nfields; i++) {
		const struct field *f = &r->fields[i];

		if (strcmp(name, f->name) != 0)
			continue;
		if (r->seen & 1u << i)
			return damaged(r, "that number is there twice");
		if (parse_number(text, &value) ||
		    value / f->scale > (f->scale > 1 ? MOST_NS : MOST_BYTES))
			return damaged(r, "that is no number, or none that can be true");
		r->seen |= 1u << i;
		*number(r->into, f) = value / f->scale;
		return 0;
	}
	return damaged(r, "there is no number of that name");
}

static int read_line(struct reader *r, char *line)
{
	char *value = strchr(line, ' ');
	char key[32];

	if (*line == '#' || !*line)
		return 0;
	if (r->ended)
		return damaged(r, "there is more after the end");
	if (value)
		*value++ = 0;
	else
		value = line + strlen(line);
	if (!r->began) {
		r->began = !strcmp(line, "hocket-machine") && !strcmp(value, "1");
		return r->began ? 0 : damaged(r, "that is not the format of this version");
	}
	if (!r->keyed) {
		snprintf(key, sizeof(key), "%016" PRIx64, hk_cache_key());
		r->keyed = !strcmp(line, "key") && !strcmp(value, key);
		return r->keyed ? 0 : damaged(r, "it is of another machine or version");
	}
	if (!strcmp(line, "route"))
		return begin_route(r, value);
	if (!strcmp(line, "end")) {
		r->ended = true;
		return end_section(r);
	}
	return read_field(r, line, value);
}

/* The file's text, ended by a 0. */
static int slurp(const struct reader *r, char text[FILE_BYTES + 1])
{
	int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t got = 0;
	ssize_t n = 0;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : damaged(r, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_BYTES ||
	    (st.st_uid != geteuid() && st.st_uid != 0)) {
		close(fd);
		return damaged(r, "it is no small file of this user's");
	}
	while (got < FILE_BYTES && (n = read(fd, text + got, FILE_BYTES - got)) > 0)
		got += (size_t)n;
	close(fd);
	text[got] = 0;
	if (n < 0 || strlen(text) != got)
		return damaged(r, n < 0 ? "it can't be read" : "it is no text");
	return 0;
}

int hk_cache_read(const char *path, struct hk_measured *m)
{
	struct reader r = {
		.path = path, .fields = host_fields, .nfields = NHOST, .into = &r.m.machine};
	char text[FILE_BYTES + 1], *save = text, *line;
	int err = slurp(&r, text);

	hk_measured_default(&r.m);
	while (!err && (line = strsep(&save, "\n"))) {
		r.line++;
		err = read_line(&r, line);
	}
	if (!err && !r.ended)
		err = damaged(&r, "its end is missing");
	if (!err)
		*m = r.m;
	return err;
}

void hk_measured_get(struct hk_measured *m)
{
	char path[HK_CACHE_PATH_BYTES];

	if (hk_cache_path(path) || hk_cache_read(path, m))
		hk_measured_default(m);
}

/* --- writing --- */

static void write_fields(FILE *f, void *of, const struct field *fields, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%s %.0f\n", fields[i].name, *number(of, &fields[i]) * fields[i].scale);
}

static void write_all(FILE *f, const struct hk_measured *m)
{
	struct hk_measured copy = *m;
	struct hk_host host;

	hk_topo_host(&host);
	fprintf(f,
		"# What `hocket tune` measured on this machine (%s, %u processors). Communicators\n"
		"# choose their algorithms by it. Delete it, or run `hocket tune` again, when the\n"
		"# machine has changed. Times are in picoseconds.\n"
		"hocket-machine %d\nkey %016" PRIx64 "\n",
		*host.model ? host.model : "unknown", host.processors, FORMAT, hk_cache_key());
	write_fields(f, &copy.machine, host_fields, NHOST);
	for (unsigned i = 0; i < m->nroutes; i++) {
		fprintf(f, "route %s\n", m->routes[i].transport);
		write_fields(f, &copy.routes[i].route, route_fields, NROUTE);
	}
	fprintf(f, "end\n");
}

/* Makes the folders above the file. */
static int make_folders(const char *path)
{
	char copy[HK_CACHE_PATH_BYTES];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *at = strchr(copy + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(copy, 0700) && errno != EEXIST)
			return hk_fail(errno, "cannot make the folder %s: %s", copy,
				       strerror(errno));
		*at = '/';
	}
	return 0;
}

int hk_cache_write(const char *path, const struct hk_measured *m)
{
	char temporary[HK_CACHE_PATH_BYTES + 32];
	int err = make_folders(path), fd;
	FILE *f;

	if (err)
		return err;
	snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid());
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		err = hk_fail(errno, "cannot write %s: %s", temporary, strerror(errno));
		if (fd >= 0)
			close(fd);
		return err;
	}
	write_all(f, m);
	err = ferror(f);
	err |= fclose(f);
	if (!err)
		err = rename(temporary, path);
	if (!err)
		return 0;
	err = hk_fail(errno ? errno : EIO, "cannot write %s: %s", path, strerror(errno));
	unlink(temporary);
	return err;
}
