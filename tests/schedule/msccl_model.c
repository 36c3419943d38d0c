/* SPDX-License-Identifier: BSD-3-Clause */
/* See msccl_model.h. */
#include "msccl_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs.h"

/* --- reading and printing --- */

/* The text of an attribute of this line, or "". */
static void text_of(const char *line, const char *name, char *to, size_t bytes)
{
	char pattern[40];
	const char *at;

	snprintf(pattern, sizeof(pattern), " %s=\"", name);
	at = strstr(line, pattern);
	*to = 0;
	if (!at)
		return;
	at += strlen(pattern);
	snprintf(to, bytes, "%.*s", (int)strcspn(at, "\""), at);
}

static int int_of(const char *line, const char *name, int absent)
{
	char text[32];

	text_of(line, name, text, sizeof(text));
	return *text ? atoi(text) : absent;
}

static void *grow(void *table, int n, size_t size)
{
	void *t = n & (n - 1) ? table : realloc(table, (size_t)(n ? n * 2 : 1) * size);

	if (!t)
		abort();
	return t;
}

static void read_algo(struct model *m, const char *line)
{
	char name[64], proto[16], min[24], max[24];

	text_of(line, "name", name, sizeof(name));
	text_of(line, "proto", proto, sizeof(proto));
	text_of(line, "minBytes", min, sizeof(min));
	text_of(line, "maxBytes", max, sizeof(max));
	snprintf(m->head, sizeof(m->head),
		 "name=\"%s\" proto=\"%s\" nchannels=\"%d\" minBytes=\"%s\" maxBytes=\"%s\"", name,
		 proto, int_of(line, "nchannels", 1), min, max);
	text_of(line, "coll", m->coll, sizeof(m->coll));
	m->nchunks = int_of(line, "nchunksperloop", 0);
	m->inplace = int_of(line, "inplace", 0);
	m->outofplace = int_of(line, "outofplace", 0);
}

static void read_gpu(struct model *m, const char *line)
{
	m->gpus = grow(m->gpus, m->ngpus, sizeof(*m->gpus));
	m->gpus[m->ngpus++] = (struct model_gpu){.id = int_of(line, "id", -1),
						 .i_chunks = int_of(line, "i_chunks", -1),
						 .o_chunks = int_of(line, "o_chunks", -1),
						 .s_chunks = int_of(line, "s_chunks", -1)};
}

static void read_tb(struct model_gpu *gpu, const char *line)
{
	gpu->tbs = grow(gpu->tbs, gpu->ntbs, sizeof(*gpu->tbs));
	gpu->tbs[gpu->ntbs++] = (struct model_tb){.id = int_of(line, "id", -1),
						  .send = int_of(line, "send", -1),
						  .recv = int_of(line, "recv", -1),
						  .channel = int_of(line, "chan", -1)};
}

static void read_step(struct model_tb *tb, const char *line)
{
	struct model_step s = {.src = int_of(line, "srcoff", -1),
			       .dst = int_of(line, "dstoff", -1),
			       .count = int_of(line, "cnt", -1),
			       .dep_tb = int_of(line, "depid", -1),
			       .dep_step = int_of(line, "deps", -1),
			       .has_dep = int_of(line, "hasdep", 0)};
	char buf[8];

	text_of(line, "type", s.type, sizeof(s.type));
	text_of(line, "srcbuf", buf, sizeof(buf));
	s.src_buf = *buf;
	text_of(line, "dstbuf", buf, sizeof(buf));
	s.dst_buf = *buf;
	tb->steps = grow(tb->steps, tb->nsteps, sizeof(*tb->steps));
	tb->steps[tb->nsteps++] = s;
}

struct model *model_read(const char *path)
{
	struct model *m = calloc(1, sizeof(*m));
	FILE *f = fopen(path, "r");
	struct model_gpu *gpu = NULL;
	char line[1024];

	if (!m || !f)
		abort();
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "<algo "))
			read_algo(m, line);
		else if (strstr(line, "<gpu "))
			read_gpu(m, line);
		else if (strstr(line, "<tb "))
			read_tb(gpu, line);
		else if (strstr(line, "<step "))
			read_step(&gpu->tbs[gpu->ntbs - 1], line);
		gpu = m->ngpus ? &m->gpus[m->ngpus - 1] : NULL;
	}
	fclose(f);
	return m;
}

static void *copy_of(const void *table, int n, size_t size)
{
	void *copy = malloc((size_t)n * size + 1);

	if (!copy)
		abort();
	if (n)
		memcpy(copy, table, (size_t)n * size);
	return copy;
}

struct model *model_copy(const struct model *m)
{
	struct model *copy = copy_of(m, 1, sizeof(*m));

	copy->gpus = copy_of(m->gpus, m->ngpus, sizeof(*m->gpus));
	for (int g = 0; g < m->ngpus; g++) {
		struct model_gpu *gpu = &copy->gpus[g];

		gpu->tbs = copy_of(gpu->tbs, gpu->ntbs, sizeof(*gpu->tbs));
		for (int t = 0; t < gpu->ntbs; t++)
			gpu->tbs[t].steps = copy_of(gpu->tbs[t].steps, gpu->tbs[t].nsteps,
						    sizeof(*gpu->tbs[t].steps));
	}
	return copy;
}

void model_free(struct model *m)
{
	for (int g = 0; g < m->ngpus; g++) {
		for (int t = 0; t < m->gpus[g].ntbs; t++)
			free(m->gpus[g].tbs[t].steps);
		free(m->gpus[g].tbs);
	}
	free(m->gpus);
	free(m);
}

static void print_tb(const struct model_tb *tb, FILE *f)
{
	fprintf(f, "    <tb id=\"%d\" send=\"%d\" recv=\"%d\" chan=\"%d\">\n", tb->id, tb->send,
		tb->recv, tb->channel);
	for (int i = 0; i < tb->nsteps; i++) {
		const struct model_step *s = &tb->steps[i];

		fprintf(f,
			"      <step s=\"%d\" type=\"%s\" srcbuf=\"%c\" srcoff=\"%d\" "
			"dstbuf=\"%c\" "
			"dstoff=\"%d\" cnt=\"%d\" depid=\"%d\" deps=\"%d\" hasdep=\"%d\"/>\n",
			i, s->type, s->src_buf, s->src, s->dst_buf, s->dst, s->count, s->dep_tb,
			s->dep_step, s->has_dep);
	}
	fputs("    </tb>\n", f);
}

char *model_print(const struct model *m, size_t *length)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, length);

	if (!f)
		abort();
	fprintf(f,
		"<algo %s nchunksperloop=\"%d\" ngpus=\"%d\" coll=\"%s\" inplace=\"%d\" "
		"outofplace=\"%d\">\n",
		m->head, m->nchunks, m->ngpus, m->coll, m->inplace, m->outofplace);
	for (int g = 0; g < m->ngpus; g++) {
		const struct model_gpu *gpu = &m->gpus[g];

		fprintf(f, "  <gpu id=\"%d\" i_chunks=\"%d\" o_chunks=\"%d\" s_chunks=\"%d\">\n",
			gpu->id, gpu->i_chunks, gpu->o_chunks, gpu->s_chunks);
		for (int t = 0; t < gpu->ntbs; t++)
			print_tb(&gpu->tbs[t], f);
		fputs("  </gpu>\n", f);
	}
	fputs("</algo>\n", f);
	fclose(f);
	return text;
}

/* --- the interpreter --- */

struct fifo {
	uint64_t *values; /* all messages' chunks, one after the other */
	int put, got, max;
};

struct machine {
	const struct model *m;
	int all;	    /* chunks of the larger of i and o */
	int each;	    /* chunks of a rank's share */
	uint64_t **memory;  /* [gpu]: o, then i, then s */
	struct fifo *fifos; /* [gpu][gpu][channel] */
	int channels;
	int **at; /* [gpu][tb] */
};

static bool is(const struct model *m, const char *coll)
{
	return !strcmp(m->coll, coll);
}

/* What gpu `rank` contributes at its i[x]. */
static uint64_t input(int rank, int x)
{
	uint64_t state = ((uint64_t)rank << 32 | (uint32_t)x) + 0x1234567;

	next_random(&state);
	return next_random(&state);
}

static int in_chunks(const struct machine *k)
{
	return is(k->m, "allgather") ? k->each : k->all;
}

/* All aliasing is here: where buf[x] lies in a GPU's memory. */
static uint64_t *cell(const struct machine *k, int gpu, char buf, int x)
{
	if (buf == 's')
		return &k->memory[gpu][2 * k->all + x];
	if (buf == 'i' && k->m->inplace && is(k->m, "allgather"))
		return &k->memory[gpu][gpu * k->each + x];
	if (buf == 'o' || k->m->inplace)
		return &k->memory[gpu][x];
	return &k->memory[gpu][k->all + x];
}

static struct fifo *fifo(const struct machine *k, int from, int to, int channel)
{
	return &k->fifos[(from * k->m->ngpus + to) * k->channels + channel];
}

static void send_value(struct fifo *f, uint64_t value)
{
	if (f->put == f->max) {
		f->max = f->max ? f->max * 2 : 16;
		f->values = realloc(f->values, (size_t)f->max * sizeof(*f->values));
		if (!f->values)
			abort();
	}
	f->values[f->put++] = value;
}

static int find_tb(const struct model_gpu *gpu, int id)
{
	int t = 0;

	while (t < gpu->ntbs && gpu->tbs[t].id != id)
		t++;
	return t;
}

/* Does the next step of a threadblock if it can go. */
static bool advance(struct machine *k, int g, int t)
{
	const struct model_gpu *gpu = &k->m->gpus[g];
	const struct model_tb *tb = &gpu->tbs[t];
	const struct model_step *s = &tb->steps[k->at[g][t]];
	bool recv = s->type[0] == 'r' && strcmp(s->type, "re") != 0;
	bool reduce = !strcmp(s->type, "re") || !strncmp(s->type, "rr", 2);
	bool send = s->type[strlen(s->type) - 1] == 's';
	bool store = strchr(s->type, 'c') || !strcmp(s->type, "r") || !strcmp(s->type, "re");
	struct fifo *in = recv ? fifo(k, tb->recv, gpu->id, tb->channel) : NULL;

	if (s->dep_tb >= 0 && k->at[g][find_tb(gpu, s->dep_tb)] <= s->dep_step)
		return false;
	if (recv && in->put - in->got < s->count)
		return false;
	for (int i = 0; i < s->count && strcmp(s->type, "nop") != 0; i++) {
		uint64_t v = recv ? in->values[in->got++] : 0;

		if (!recv || reduce)
			v += *cell(k, gpu->id, s->src_buf, s->src + i);
		if (!strcmp(s->type, "re"))
			v += *cell(k, gpu->id, s->dst_buf, s->dst + i);
		if (store)
			*cell(k, gpu->id, s->dst_buf, s->dst + i) = v;
		if (send)
			send_value(fifo(k, gpu->id, tb->send, tb->channel), v);
	}
	k->at[g][t]++;
	return true;
}

/* Every gpu's o[x] in the end. */
static uint64_t promise(const struct machine *k, int rank, int x)
{
	uint64_t sum = 0;

	if (is(k->m, "allgather"))
		return input(x / k->each, x % k->each);
	if (is(k->m, "alltoall"))
		return input(x / k->each, rank * k->each + x % k->each);
	for (int r = 0; r < k->m->ngpus; r++)
		sum += input(r, x);
	return sum;
}

static void set_up(struct machine *k, const struct model *m, uint64_t *random)
{
	*k = (struct machine){.m = m, .all = m->nchunks};
	k->each = m->nchunks / m->ngpus;
	for (int g = 0; g < m->ngpus; g++)
		for (int t = 0; t < m->gpus[g].ntbs; t++)
			if (m->gpus[g].tbs[t].channel >= k->channels)
				k->channels = m->gpus[g].tbs[t].channel + 1;
	k->memory = calloc((size_t)m->ngpus, sizeof(*k->memory));
	k->at = calloc((size_t)m->ngpus, sizeof(*k->at));
	k->fifos = calloc((size_t)(m->ngpus * m->ngpus * k->channels), sizeof(*k->fifos));
	if (!k->memory || !k->at || !k->fifos)
		abort();
	for (int g = 0; g < m->ngpus; g++) {
		int n = 2 * k->all + m->gpus[g].s_chunks;

		k->memory[g] = malloc(((size_t)n + 1) * sizeof(**k->memory));
		k->at[g] = calloc((size_t)m->gpus[g].ntbs + 1, sizeof(**k->at));
		if (!k->memory[g] || !k->at[g])
			abort();
		for (int i = 0; i < n; i++)
			k->memory[g][i] = next_random(random);
		for (int i = 0; i < in_chunks(k); i++)
			*cell(k, g, 'i', i) = input(g, i);
	}
}

static void tear_down(struct machine *k)
{
	for (int g = 0; g < k->m->ngpus; g++) {
		free(k->memory[g]);
		free(k->at[g]);
	}
	for (int i = 0; i < k->m->ngpus * k->m->ngpus * k->channels; i++)
		free(k->fifos[i].values);
	free(k->memory);
	free(k->at);
	free(k->fifos);
}

/* From a random threadblock on, the first that can go does so, once or until it can't. */
static bool move(struct machine *k, uint64_t *random)
{
	int n = k->m->ngpus, g0 = (int)(next_random(random) % (uint64_t)n);
	bool greedy = next_random(random) & 1;

	for (int i = 0; i < n; i++) {
		int g = (g0 + i) % n, ntbs = k->m->gpus[g].ntbs;
		int t0 = ntbs ? (int)(next_random(random) % (uint64_t)ntbs) : 0;

		for (int j = 0; j < ntbs; j++) {
			int t = (t0 + j) % ntbs;
			bool moved = false;

			while (k->at[g][t] < k->m->gpus[g].tbs[t].nsteps && advance(k, g, t)) {
				moved = true;
				if (!greedy)
					break;
			}
			if (moved)
				return true;
		}
	}
	return false;
}

static enum model_result judge(const struct machine *k)
{
	for (int g = 0; g < k->m->ngpus; g++)
		for (int t = 0; t < k->m->gpus[g].ntbs; t++)
			if (k->at[g][t] < k->m->gpus[g].tbs[t].nsteps)
				return MODEL_STUCK;
	for (int g = 0; g < k->m->ngpus; g++)
		for (int x = 0; x < k->all; x++)
			if (*cell(k, g, 'o', x) != promise(k, g, x))
				return MODEL_WRONG;
	return MODEL_RIGHT;
}

enum model_result model_run(const struct model *m, uint64_t seed)
{
	uint64_t random = seed * 2654435761u + 1;
	enum model_result result;
	struct machine k;

	set_up(&k, m, &random);
	while (move(&k, &random))
		;
	result = judge(&k);
	tear_down(&k);
	return result;
}
