/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names are cut from blocks that are freed together. The table is open: a vertex lies at the first
 * free place from its hash on, and the table doubles when it is half full.
 */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define BLOCK_BYTES 16384

struct block {
	struct block *next;
	size_t used;
	char bytes[];
};

struct hk_graph_store {
	struct block *blocks;
	int *table; /* vertices, -1: free */
	unsigned size, used;
};

static int no_memory(void)
{
	return hk_fail(ENOMEM, "no memory for the names of the topology");
}

int hk_store_create(struct hk_graph_store **store)
{
	struct hk_graph_store *s = calloc(1, sizeof(*s));

	if (!s)
		return no_memory();
	*store = s;
	return 0;
}

void hk_store_free(struct hk_graph_store *store)
{
	if (!store)
		return;
	for (struct block *b = store->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(store->table);
	free(store);
}

const char *hk_store_text(struct hk_graph_store *store, const char *text)
{
	size_t length = strlen(text) + 1;
	struct block *b = store->blocks;
	size_t capacity = length > BLOCK_BYTES ? length : BLOCK_BYTES;
	char *copy;

	if (!b || BLOCK_BYTES - b->used < length) {
		b = malloc(sizeof(*b) + capacity);
		if (!b)
			return NULL;
		b->next = store->blocks;
		b->used = 0;
		store->blocks = b;
	}
	copy = memcpy(b->bytes + b->used, text, length);
	/* A block that one long text fills takes no more. */
	b->used = length > BLOCK_BYTES ? BLOCK_BYTES : b->used + length;
	return copy;
}

/* Hosts and switches are found by their names alone. */
static int scope_of(const struct hk_graph *g, int vertex)
{
	return g->vertices[vertex].host == vertex ? -1 : g->vertices[vertex].host;
}

static unsigned hash(int scope, const char *name)
{
	uint32_t h = 2166136261u ^ (uint32_t)scope;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h ^ h >> 15;
}

static void place(struct hk_graph_store *store, const struct hk_graph *g, int vertex)
{
	unsigned i = hash(scope_of(g, vertex), g->vertices[vertex].name) & (store->size - 1);

	while (store->table[i] >= 0)
		i = (i + 1) & (store->size - 1);
	store->table[i] = vertex;
}

static int grow(struct hk_graph_store *store, const struct hk_graph *g)
{
	unsigned old = store->size;
	int *table = store->table;

	store->size = old ? 2 * old : 64;
	store->table = malloc(store->size * sizeof(*store->table));
	if (!store->table) {
		store->table = table;
		store->size = old;
		return no_memory();
	}
	memset(store->table, -1, store->size * sizeof(*store->table));
	for (unsigned i = 0; i < old; i++)
		if (table[i] >= 0)
			place(store, g, table[i]);
	free(table);
	return 0;
}

int hk_store_enter(struct hk_graph_store *store, const struct hk_graph *g, int vertex)
{
	int err = 2 * store->used >= store->size ? grow(store, g) : 0;

	if (err)
		return err;
	place(store, g, vertex);
	store->used++;
	return 0;
}

int hk_store_find(const struct hk_graph_store *store, const struct hk_graph *g, int host,
		  const char *name)
{
	if (!store->size)
		return -1;
	for (unsigned i = hash(host, name) & (store->size - 1); store->table[i] >= 0;
	     i = (i + 1) & (store->size - 1)) {
		int v = store->table[i];

		if (scope_of(g, v) == host && !strcmp(g->vertices[v].name, name))
			return v;
	}
	return -1;
}
