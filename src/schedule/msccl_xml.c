/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the XML of an MSCCL algorithm with expat. Elements are algo > gpu > tb > step and nothing
 * else. Fields that a step's type does not use are not looked at; MSCCL's own compiler fills them
 * with whatever. A document type is refused: it could define entities that grow without end.
 */
#include <errno.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"
#include "msccl.h"

#define MOST_STEPS (1u << 20)
#define MOST_TBS   (1u << 14)

const struct msccl_kind msccl_kinds[MSCCL_NTYPES] = {
	[MSCCL_S] = {"s", HK_SEND},
	[MSCCL_R] = {"r", HK_RECV},
	[MSCCL_RCS] = {"rcs", HK_RECV_COPY_SEND},
	[MSCCL_RRS] = {"rrs", HK_RECV_REDUCE_SEND},
	[MSCCL_RRC] = {"rrc", HK_RECV_REDUCE},
	[MSCCL_RRCS] = {"rrcs", HK_RECV_REDUCE_COPY_SEND},
	[MSCCL_CPY] = {"cpy", HK_COPY},
	[MSCCL_RE] = {"re", HK_REDUCE},
	[MSCCL_NOP] = {"nop", 0},
};

static const struct {
	const char *name;
	enum hk_coll coll;
} colls[] = {
	{"allreduce", HK_ALL_REDUCE},
	{"allgather", HK_ALL_GATHER},
	{"reduce_scatter", HK_REDUCE_SCATTER},
	{"reducescatter", HK_REDUCE_SCATTER},
	{"alltoall", HK_ALL_TO_ALL},
	{"broadcast", HK_BROADCAST},
	{"reduce", HK_REDUCE_ROOT},
	{"gather", HK_GATHER},
	{"scatter", HK_SCATTER},
};

struct reader {
	struct hk_msccl *m;
	XML_Parser parser;
	int rc;
	unsigned depth;
	struct msccl_gpu *gpu;
	const char **attrs; /* of the element: name, value ... NULL */
	const char *element;
};

static unsigned line_of(const struct reader *r)
{
	return (unsigned)XML_GetCurrentLineNumber(r->parser);
}

static void stop(struct reader *r, int rc)
{
	r->rc = rc;
	XML_StopParser(r->parser, XML_FALSE);
}

#define FAIL(r, ...) stop(r, hk_file_fail((r)->m->source, line_of(r), __VA_ARGS__))

static const char *find(const struct reader *r, const char *name)
{
	for (const char **a = r->attrs; *a; a += 2)
		if (!strcmp(a[0], name))
			return a[1];
	return NULL;
}

static const char *need(struct reader *r, const char *name)
{
	const char *value = r->rc ? "" : find(r, name);

	if (value)
		return value;
	FAIL(r, "<%s> has no %s", r->element, name);
	return "";
}

/* A whole number from min to max; `min` where it is not. */
static int64_t number(struct reader *r, const char *name, const char *value, int64_t min,
		      int64_t max)
{
	char *end = NULL;
	long long v;

	if (r->rc)
		return min;
	errno = 0;
	v = strtoll(value, &end, 10);
	if (end == value || *end || errno || v < min || v > max || strchr(" \t\r\n+", *value)) {
		FAIL(r, "%s=\"%.40s\" of <%s> is not a number from %lld to %lld", name, value,
		     r->element, (long long)min, (long long)max);
		return min;
	}
	return v;
}

static int64_t need_number(struct reader *r, const char *name, int64_t min, int64_t max)
{
	return number(r, name, need(r, name), min, max);
}

static int64_t find_number(struct reader *r, const char *name, int64_t min, int64_t max,
			   int64_t absent)
{
	const char *value = find(r, name);

	return value ? number(r, name, value, min, max) : absent;
}

/* A name for the log and for our own format: no blanks, nothing odd. */
static void clean_name(const char *from, char to[64])
{
	size_t n = 0;

	for (; *from && n < 63; from++)
		to[n++] = *from > ' ' && *from <= '~' && *from != '#' ? *from : '_';
	if (!n)
		to[n++] = '_';
	to[n] = 0;
}

static void set_collective(struct reader *r)
{
	const char *name = need(r, "coll");

	if (r->rc)
		return;
	for (size_t i = 0; i < sizeof(colls) / sizeof(colls[0]); i++) {
		if (strcmp(name, colls[i].name))
			continue;
		r->m->p.coll = colls[i].coll;
		return;
	}
	FAIL(r, "coll=\"%.40s\" is no collective that could be proved", name);
}

/* nchunksperloop counts the chunks of all blocks, where there is one for every rank. */
static void set_period(struct reader *r)
{
	struct hk_msccl *m = r->m;
	uint32_t all = (uint32_t)need_number(r, "nchunksperloop", 1, HK_MAX_CHUNKS);
	uint32_t blocks = (uint32_t)hk_schedule_bytes(&m->p, 1);

	if (r->rc)
		return;
	if (all % blocks)
		FAIL(r, "nchunksperloop=\"%u\" is not a multiple of the %d GPUs, as %s needs", all,
		     m->p.nranks, hk_coll_name(m->p.coll));
	m->period = all / blocks;
}

static void set_places(struct reader *r)
{
	struct hk_msccl *m = r->m;
	const char *out = find(r, "outofplace");

	m->inplace = need_number(r, "inplace", 0, 1);
	m->outofplace = out ? number(r, "outofplace", out, 0, 1) : !m->inplace;
	if (!m->inplace && !m->outofplace)
		FAIL(r, "the algorithm is neither for calls in place nor for others");
	m->p.inplace = m->inplace && !m->outofplace;
}

static void begin_algo(struct reader *r)
{
	struct hk_msccl *m = r->m;

	clean_name(need(r, "name"), m->name);
	set_collective(r);
	m->p.nranks = (int)need_number(r, "ngpus", 1, HK_FILE_RANKS);
	m->p.channels = (uint32_t)need_number(r, "nchannels", 1, HK_FILE_CHANNELS);
	m->p.root = (int)find_number(r, "root", 0, m->p.nranks - 1, 0);
	set_places(r);
	m->min_bytes = (uint64_t)find_number(r, "minBytes", 0, INT64_MAX, 0);
	m->max_bytes = (uint64_t)find_number(r, "maxBytes", 0, INT64_MAX, 0);
	if (!r->rc && m->max_bytes && m->max_bytes < m->min_bytes)
		FAIL(r, "maxBytes is less than minBytes");
	if (!m->max_bytes)
		m->max_bytes = UINT64_MAX;
	if (r->rc)
		return;
	set_period(r);
	m->gpus = calloc((size_t)m->p.nranks, sizeof(*m->gpus));
	if (!r->rc && !m->gpus)
		stop(r, hk_fail_quiet(ENOMEM, "no memory for %d GPUs", m->p.nranks));
}

static void begin_gpu(struct reader *r)
{
	struct hk_msccl *m = r->m;
	int64_t id = need_number(r, "id", 0, m->p.nranks - 1);
	int64_t in = need_number(r, "i_chunks", 0, HK_MAX_CHUNKS);
	int64_t out = need_number(r, "o_chunks", 0, HK_MAX_CHUNKS);
	int64_t scratch = need_number(r, "s_chunks", 0, HK_FILE_CHUNKS);

	if (r->rc)
		return;
	r->gpu = &m->gpus[id];
	if (r->gpu->line)
		FAIL(r, "gpu %d is there a second time; it was at line %u", (int)id, r->gpu->line);
	else if (in > msccl_region(m, HK_IN) || out > msccl_region(m, HK_OUT))
		FAIL(r, "gpu %d has %d and %d chunks of i and o; %s has %u and %u", (int)id,
		     (int)in, (int)out, hk_coll_name(m->p.coll), msccl_region(m, HK_IN),
		     msccl_region(m, HK_OUT));
	r->gpu->line = line_of(r);
	r->gpu->scratch = (uint32_t)scratch;
	r->gpu->first = m->ntbs;
}

/* Makes room for one record more, up to `most`. */
static bool grow(struct reader *r, void **table, uint32_t n, uint32_t *max, size_t size,
		 uint32_t most)
{
	uint32_t more = *max ? *max * 2 : 64;
	void *t;

	if (r->rc)
		return false;
	if (n < *max)
		return true;
	if (n >= most) {
		FAIL(r, "there are more than %u of <%s>", most, r->element);
		return false;
	}
	t = realloc(*table, more * size);
	if (!t) {
		stop(r, hk_fail_quiet(ENOMEM, "no memory for %u of <%s>", n, r->element));
		return false;
	}
	*table = t;
	*max = more;
	return true;
}

static void begin_tb(struct reader *r)
{
	struct hk_msccl *m = r->m;
	struct msccl_tb tb = {.gpu = (uint32_t)(r->gpu - m->gpus), .first = m->nsteps};

	tb.id = (int)need_number(r, "id", 0, INT32_MAX - 1);
	tb.send = (int)need_number(r, "send", -1, m->p.nranks - 1);
	tb.recv = (int)need_number(r, "recv", -1, m->p.nranks - 1);
	tb.channel = (uint32_t)need_number(r, "chan", 0, m->p.channels - 1);
	tb.line = line_of(r);
	if (!r->rc && (tb.send == (int)tb.gpu || tb.recv == (int)tb.gpu))
		FAIL(r, "threadblock %d of gpu %u is connected to its own GPU", tb.id, tb.gpu);
	for (uint32_t i = r->gpu->first; !r->rc && i < m->ntbs; i++)
		if (m->tbs[i].id == tb.id)
			FAIL(r, "gpu %u has a second threadblock %d; the first is at line %u",
			     tb.gpu, tb.id, m->tbs[i].line);
	if (!grow(r, (void **)&m->tbs, m->ntbs, &m->max_tbs, sizeof(*m->tbs), MOST_TBS))
		return;
	m->tbs[m->ntbs++] = tb;
	r->gpu->ntbs++;
}

static uint8_t need_buf(struct reader *r, const char *name)
{
	static const char letters[] = "ios";
	const char *value = need(r, name), *at = *value ? strchr(letters, *value) : NULL;

	if (!r->rc && (!at || value[1]))
		FAIL(r, "%s=\"%.40s\" is not i, o or s", name, value);
	return r->rc ? 0 : (uint8_t)(at - letters);
}

static void need_range(struct reader *r, const struct msccl_step *s, const char *buf_name,
		       const char *off_name, uint8_t *buf, uint32_t *off)
{
	const struct hk_msccl *m = r->m;
	uint64_t room;

	*buf = need_buf(r, buf_name);
	*off = (uint32_t)need_number(r, off_name, 0, INT32_MAX);
	room = *buf == MSCCL_SCRATCH ? r->gpu->scratch
				     : msccl_region(m, *buf == MSCCL_I ? HK_IN : HK_OUT);
	if (!r->rc && (uint64_t)*off + s->count > room)
		FAIL(r, "chunks %u to %llu of %c are past its %llu chunks", *off,
		     (unsigned long long)*off + s->count - 1, "ios"[*buf],
		     (unsigned long long)room);
}

static uint8_t need_type(struct reader *r)
{
	const char *name = need(r, "type");

	for (unsigned i = 0; !r->rc && i < MSCCL_NTYPES; i++)
		if (!strcmp(name, msccl_kinds[i].name))
			return (uint8_t)i;
	if (!r->rc)
		FAIL(r, "type=\"%.40s\" is no type of step", name);
	return MSCCL_NOP;
}

/* The dependency's threadblock may come later in the file: until the end, dep_tb is its id. */
static void set_dep(struct reader *r, struct msccl_step *s)
{
	int64_t tb = need_number(r, "depid", -1, INT32_MAX - 1);
	int64_t step = need_number(r, "deps", -1, INT32_MAX - 1);

	if (!r->rc && (tb < 0) != (step < 0))
		FAIL(r, "depid=\"%d\" and deps=\"%d\" are half a dependency", (int)tb, (int)step);
	s->dep_tb = tb < 0 ? MSCCL_NOBODY : (uint32_t)tb;
	s->dep_step = (uint32_t)step;
}

static void begin_step(struct reader *r)
{
	struct hk_msccl *m = r->m;
	struct msccl_tb *tb = &m->tbs[m->ntbs - 1];
	struct msccl_step s = {.type = need_type(r), .line = line_of(r), .tb = m->ntbs - 1};
	unsigned does = msccl_does(&s);
	int64_t number_of = need_number(r, "s", 0, INT32_MAX);

	if (!r->rc && number_of != tb->nsteps)
		FAIL(r, "step %d stands where step %u should", (int)number_of, tb->nsteps);
	if (s.type != MSCCL_NOP)
		s.count = (uint32_t)need_number(r, "cnt", 1, UINT16_MAX);
	if (does & HK_READS_SRC)
		need_range(r, &s, "srcbuf", "srcoff", &s.src_buf, &s.src);
	if (does & HK_WRITES_DST)
		need_range(r, &s, "dstbuf", "dstoff", &s.dst_buf, &s.dst);
	set_dep(r, &s);
	if (!r->rc && does & HK_DOES_SEND && tb->send < 0)
		FAIL(r, "a step sends in a threadblock with send=\"-1\"");
	if (!r->rc && does & HK_DOES_RECV && tb->recv < 0)
		FAIL(r, "a step receives in a threadblock with recv=\"-1\"");
	if (!grow(r, (void **)&m->steps, m->nsteps, &m->max_steps, sizeof(*m->steps), MOST_STEPS))
		return;
	m->steps[m->nsteps++] = s;
	tb->nsteps++;
}

static const struct {
	const char *name;
	void (*begin)(struct reader *r);
} elements[] = {{"algo", begin_algo}, {"gpu", begin_gpu}, {"tb", begin_tb}, {"step", begin_step}};

#define NELEMENTS (sizeof(elements) / sizeof(elements[0]))

static void XMLCALL on_start(void *arg, const char *name, const char **attrs)
{
	struct reader *r = arg;

	if (r->rc)
		return;
	r->attrs = attrs;
	r->element = name;
	if (r->depth >= NELEMENTS || strcmp(name, elements[r->depth].name))
		FAIL(r, "<%.40s> stands where only %s%s%s can", name,
		     r->depth < NELEMENTS ? "<" : "",
		     r->depth < NELEMENTS ? elements[r->depth].name : "the end of <step>",
		     r->depth < NELEMENTS ? ">" : "");
	else
		elements[r->depth++].begin(r);
}

static void XMLCALL on_end(void *arg, const char *name)
{
	struct reader *r = arg;

	if (!r->rc)
		r->depth--;
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system, const char *public,
			       int subset)
{
	struct reader *r = arg;

	if (!r->rc)
		FAIL(r, "an algorithm has no document type");
}

static int parse(struct reader *r, const char *xml, size_t length)
{
	enum XML_Status status;

	XML_SetUserData(r->parser, r);
	XML_SetElementHandler(r->parser, on_start, on_end);
	XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
	status = XML_Parse(r->parser, xml, (int)length, 1);
	if (r->rc || status == XML_STATUS_OK)
		return r->rc;
	return hk_file_fail(r->m->source, line_of(r), "this is not XML: %s",
			    XML_ErrorString(XML_GetErrorCode(r->parser)));
}

/* Ids of threadblocks become their numbers. */
static int resolve(struct hk_msccl *m)
{
	uint32_t tbs = 0;

	for (int g = 0; g < m->p.nranks; g++) {
		if (!m->gpus[g].line)
			return hk_fail_quiet(EINVAL, "%s: gpu %d of %d is missing", m->source, g,
					     m->p.nranks);
		tbs = m->gpus[g].ntbs > tbs ? m->gpus[g].ntbs : tbs;
	}
	if ((uint64_t)m->nsteps * tbs > HK_FILE_CLOCKS)
		return hk_fail_quiet(EINVAL,
				     "%s: %u steps and up to %u threadblocks a GPU are too much to "
				     "prove",
				     m->source, m->nsteps, tbs);
	for (uint32_t i = 0; i < m->nsteps; i++) {
		struct msccl_step *s = &m->steps[i];
		const struct msccl_gpu *gpu = &m->gpus[m->tbs[s->tb].gpu];
		uint32_t t = gpu->first;

		if (s->dep_tb == MSCCL_NOBODY)
			continue;
		/* Mostly the ids are the numbers. */
		if (s->dep_tb < gpu->ntbs && m->tbs[t + s->dep_tb].id == (int)s->dep_tb)
			t += s->dep_tb;
		while (t < gpu->first + gpu->ntbs && m->tbs[t].id != (int)s->dep_tb)
			t++;
		if (t == gpu->first + gpu->ntbs || s->dep_step >= m->tbs[t].nsteps)
			return hk_file_fail(m->source, s->line,
					    "waits for step %u of threadblock %u, which its GPU "
					    "does not have",
					    s->dep_step, s->dep_tb);
		s->dep_tb = t;
	}
	return 0;
}

int hk_msccl_parse(struct hk_msccl *m, const char *xml, size_t length)
{
	struct reader r = {.m = m, .parser = XML_ParserCreate(NULL)};
	int rc;

	if (!r.parser)
		return hk_fail_quiet(ENOMEM, "no memory for an XML parser");
	if (length > HK_FILE_BYTES)
		rc = hk_fail_quiet(EFBIG, "%s: is longer than %d MiB", m->source,
				   HK_FILE_BYTES >> 20);
	else
		rc = parse(&r, xml, length);
	XML_ParserFree(r.parser);
	return rc ? rc : resolve(m);
}

void hk_msccl_free(struct hk_msccl *m)
{
	for (int g = 0; m->gpus && g < m->p.nranks; g++)
		free(m->gpus[g].cells);
	free(m->gpus);
	free(m->tbs);
	free(m->steps);
	free(m->moves);
}
