/* SPDX-License-Identifier: BSD-3-Clause */
/* The `hocket` command: finds the subcommand in the table and hands over. */
#include <stdio.h>
#include <string.h>

#include "command.h"

const struct hk_command *const hk_commands[] = {
	&hk_command_run,     &hk_command_schedule, &hk_command_doctor,
	&hk_command_version, &hk_command_help,	   NULL,
};

int hk_command_complain(const struct hk_command *c, const char *what, const char *value)
{
	fprintf(stderr, "hocket %s: %s%s%s\nusage: hocket %s %s\n", c->name, what,
		*value ? " " : "", value, c->name, c->usage);
	return 2;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "help";

	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	if (!strcmp(name, "--version"))
		name = "version";
	for (unsigned i = 0; hk_commands[i]; i++)
		if (!strcmp(name, hk_commands[i]->name))
			return hk_commands[i]->main(argc > 1 ? argc - 1 : 1,
						    argc > 1 ? argv + 1 : argv);
	fprintf(stderr, "hocket: there is no command %s; `hocket help` lists them\n", name);
	return 2;
}
