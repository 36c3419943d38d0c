/* SPDX-License-Identifier: BSD-3-Clause */
/* A host stands once in the list: its slots are summed where it is named again. */
#include "run_hosts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char problem[512];

static const char *complain(const char *what, const char *text, int length)
{
	snprintf(problem, sizeof(problem), "%s: '%.*s'", what, length, text);
	return problem;
}

static struct hk_run_host *find(struct hk_run_hosts *hosts, const char *name, size_t length)
{
	struct hk_run_host *more;

	for (int i = 0; i < hosts->n; i++)
		if (strlen(hosts->list[i].name) == length &&
		    !strncmp(hosts->list[i].name, name, length))
			return &hosts->list[i];
	more = realloc(hosts->list, (size_t)(hosts->n + 1) * sizeof(*more));
	if (!more)
		return NULL;
	hosts->list = more;
	more += hosts->n;
	*more = (struct hk_run_host){.name = strndup(name, length)};
	if (!more->name)
		return NULL;
	hosts->n++;
	return more;
}

/* text: HOST[:SLOTS]; otherwise: what follows says the slots, NULL for nothing. */
static const char *add(struct hk_run_hosts *hosts, const char *text, int length,
		       const char *slots_text)
{
	const char *end = text + length, *colon = NULL, *name = text;
	struct hk_run_host *host;
	char *after = NULL;
	long slots = 1;

	for (const char *c = text; c < end; c++)
		if (*c == ':')
			colon = c;
		else if (*c == ']')
			colon = NULL;
	if (colon)
		slots_text = colon + 1;
	else
		colon = end;
	if (slots_text) {
		slots = strtol(slots_text, &after, 10);
		if (after == slots_text || slots < 1 || slots > HK_RUN_MOST_RANKS ||
		    (colon < end ? after != end : *after != 0))
			return complain("a host takes from 1 to 4096 ranks, HOST:RANKS", text,
					length);
	}
	if (*name == '[' && colon[-1] == ']') {
		name++;
		colon--;
	}
	/* ssh would take the first for an option, the rest are nobody's name. */
	if (name >= colon || *name == '-' || memchr(name, ' ', (size_t)(colon - name)))
		return complain("this is no host", text, length);
	host = find(hosts, name, (size_t)(colon - name));
	if (!host)
		return "out of memory";
	host->slots += (int)slots;
	hosts->slots += (int)slots;
	return hosts->slots > HK_RUN_MOST_RANKS ? "the hosts take more than 4096 ranks" : NULL;
}

const char *hk_run_hosts_parse(const char *text, struct hk_run_hosts *hosts)
{
	for (;;) {
		size_t length = strcspn(text, ",");
		const char *wrong = add(hosts, text, (int)length, NULL);

		if (wrong)
			return wrong;
		if (!text[length])
			return NULL;
		text += length + 1;
	}
}

/* One line of a file, without its end. */
static const char *read_line(char *line, struct hk_run_hosts *hosts)
{
	const char *name, *rest, *slots = NULL;

	line[strcspn(line, "#\n")] = 0;
	name = strtok(line, " \t\r");
	if (!name)
		return NULL;
	while ((rest = strtok(NULL, " \t\r"))) {
		if (!strncmp(rest, "slots=", 6))
			slots = rest + 6;
		else if (strncmp(rest, "max_slots=", 10) && strncmp(rest, "max-slots=", 10))
			return complain("a host's line is HOST, HOST:RANKS or HOST slots=RANKS",
					rest, (int)strlen(rest));
	}
	return add(hosts, name, (int)strlen(name), slots);
}

const char *hk_run_hosts_read(const char *path, struct hk_run_hosts *hosts)
{
	FILE *f = fopen(path, "r");
	const char *wrong = NULL;
	char line[1024];

	if (!f) {
		snprintf(problem, sizeof(problem), "--hostfile %s: %s", path, strerror(errno));
		return problem;
	}
	while (!wrong && fgets(line, sizeof(line), f))
		wrong = read_line(line, hosts);
	fclose(f);
	return wrong || hosts->n ? wrong : "--hostfile: there is no host in it";
}

void hk_run_hosts_deal(struct hk_run_hosts *hosts, int n)
{
	int first = 0;

	for (int i = 0; i < hosts->n; i++) {
		struct hk_run_host *h = &hosts->list[i];

		h->first = first;
		h->n = n - first < h->slots ? n - first : h->slots;
		first += h->n;
	}
}

void hk_run_hosts_free(struct hk_run_hosts *hosts)
{
	for (int i = 0; i < hosts->n; i++)
		free(hosts->list[i].name);
	free(hosts->list);
	*hosts = (struct hk_run_hosts){0};
}
