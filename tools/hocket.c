/* SPDX-License-Identifier: BSD-3-Clause */
/* The `hocket` command: finds the subcommand in the table and hands over. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "command.h"

const struct hk_command *const hk_commands[] = {
	&hk_command_run,
	&hk_command_schedule,
	&hk_command_explain_choice,
	&hk_command_topo,
	&hk_command_switch,
	&hk_command_tune,
	&hk_command_doctor,
	&hk_command_version,
	&hk_command_help,
	NULL,
};

int hk_command_complain(const struct hk_command *c, const char *what, const char *value)
{
	fprintf(stderr, "hocket %s: %s%s%s\nusage: hocket %s%s%s\n", c->name, what,
		*value ? " " : "", value, c->name, *c->usage ? " " : "", c->usage);
	return 2;
}

const char *hk_command_flag_problem(int got, char *const *argv)
{
	static char text[128];
	const char *given = argv[optind - 1];
	char one[] = {'-', (char)optopt, 0};

	/* A short flag may stand inside a word; a long one is a word, perhaps with =VALUE. */
	if (strncmp(given, "--", 2))
		given = one;
	if (got == ':')
		snprintf(text, sizeof(text), "%s needs a value", given);
	else if (optopt && given != one)
		snprintf(text, sizeof(text), "%.64s: that flag takes no value", given);
	else
		snprintf(text, sizeof(text), "unknown flag %.64s", given);
	return text;
}

static bool asks_for_help(const char *arg)
{
	return !strcmp(arg, "--help") || !strcmp(arg, "-h");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "help";

	if (asks_for_help(name))
		name = "help";
	if (!strcmp(name, "--version"))
		name = "version";
	for (unsigned i = 0; hk_commands[i]; i++) {
		const struct hk_command *c = hk_commands[i];

		if (strcmp(name, c->name))
			continue;
		if (argc == 3 && asks_for_help(argv[2]))
			return hk_command_explain(c);
		return c->main(argc > 1 ? argc - 1 : 1, argc > 1 ? argv + 1 : argv);
	}
	fprintf(stderr, "hocket: there is no command %s; `hocket help` lists them\n", name);
	return 2;
}
