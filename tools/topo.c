/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket topo`: the machine or the cluster as the library sees it, and what it derives from it.
 * Reading, placing and printing the text format are the library's own layer; here it is shown.
 */
#include "topo.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "machine.h"
#include "text.h"

struct topo_options {
	const char *xml, *file, *svg;
	long ranks; /* 0: one for each slot */
	bool text, help;
};

/* NULL, or what is wrong with the arguments. */
static const char *parse(int argc, char **argv, struct topo_options *o)
{
	static const struct option flags[] = {{"xml", required_argument, NULL, 'x'},
					      {"file", required_argument, NULL, 'f'},
					      {"svg", required_argument, NULL, 's'},
					      {"ranks", required_argument, NULL, 'n'},
					      {"text", no_argument, NULL, 't'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	char *end;
	int flag;

	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1) {
		if (flag == 'x')
			o->xml = optarg;
		else if (flag == 'f')
			o->file = optarg;
		else if (flag == 's')
			o->svg = optarg;
		else if (flag == 't')
			o->text = true;
		else if (flag == 'h')
			o->help = true;
		else if (flag != 'n')
			return hk_command_flag_problem(flag, argv);
		if (flag != 'n')
			continue;
		o->ranks = strtol(optarg, &end, 10);
		if (end == optarg || *end || o->ranks < 1 || o->ranks > 1 << 20)
			return "--ranks must be from 1 to 1048576";
	}
	if (o->xml && o->file)
		return "--xml and --file are two topologies: give one";
	return NULL;
}

static int load(const struct topo_options *o, struct hk_graph **g)
{
	if (o->xml)
		return hk_machine_load_xml(o->xml, g);
	return o->file ? hk_text_load(o->file, g) : hk_topo_load(g, NULL);
}

static int draw(const struct hk_graph *g, const char *path)
{
	FILE *out = fopen(path, "w");
	int err;

	if (!out)
		return hk_fail(errno, "cannot write %s: %s", path, strerror(errno));
	err = hk_topo_draw(g, out);
	if (fclose(out) && !err)
		err = hk_fail(errno, "cannot write %s: %s", path, strerror(errno));
	return err;
}

static int show(const struct hk_graph *g, long ranks)
{
	struct hk_placement *p = NULL;
	uint64_t slots = 0;
	int err;

	for (int i = 0; i < g->nhosts; i++)
		slots += g->vertices[g->hosts[i]].slots;
	hk_topo_show_tree(g, stdout);
	if (!ranks && !slots)
		return 0;
	err = hk_place(g, ranks ? (int)ranks : slots < 1 << 20 ? (int)slots : 1 << 20, NULL, &p);
	if (!err)
		err = hk_topo_show_ranks(g, p, stdout);
	hk_placement_free(p);
	return err;
}

static int topo_main(int argc, char **argv)
{
	struct topo_options o = {0};
	const char *problem = parse(argc, argv, &o);
	struct hk_graph *g = NULL;
	int err;

	if (!problem && optind < argc)
		problem = "unknown argument";
	if (problem)
		return hk_command_complain(
			&hk_command_topo, problem,
			optind < argc && !strncmp(problem, "unknown a", 9) ? argv[optind] : "");
	if (o.help)
		return hk_command_explain(&hk_command_topo);
	err = load(&o, &g);
	if (!err && o.svg)
		err = draw(g, o.svg);
	if (!err && o.text)
		err = hk_text_print(g, stdout);
	else if (!err && !o.svg)
		err = show(g, o.ranks);
	if (err && !hk_log_enabled(HK_LOG_ERROR))
		fprintf(stderr, "hocket topo: %s\n", hk_last_error());
	hk_graph_free(g);
	return err ? 1 : 0;
}

const struct hk_command hk_command_topo = {
	.name = "topo",
	.usage = "[--xml FILE | --file FILE] [--ranks N] [--text] [--svg FILE]",
	.summary = "shows this machine, another, or a cluster, and where ranks would lie in it",
	.details =
		"Prints the machine as a tree with the bandwidth and latency of each link (~: "
		"typical\n"
		"of its kind, not measured), then for each rank its place, NIC, neighbours and "
		"groups,\n"
		"and the paths between ranks. docs/topology.md explains all of it.\n\n"
		"  --xml FILE   another machine, recorded there by lstopo FILE.xml\n"
		"  --file FILE  a cluster, described in the text format\n"
		"  --ranks N    N ranks, filling the nodes' slots in order (default: all slots)\n"
		"  --text       print the topology in the text format instead\n"
		"  --svg FILE   draw it there instead\n\n"
		"Without --xml and --file: HOCKET_TOPO_FILE or HOCKET_TOPO_XML, or this machine.\n",
	.main = topo_main,
};
