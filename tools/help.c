/* SPDX-License-Identifier: BSD-3-Clause */
/* `hocket help [COMMAND]`, `hocket COMMAND --help`: the table of commands, or one in detail. */
#include <stdio.h>
#include <string.h>

#include "command.h"

int hk_command_explain(const struct hk_command *c)
{
	printf("usage: hocket %s%s%s\n\n%s\n%s", c->name, *c->usage ? " " : "", c->usage,
	       c->summary, c->details);
	return 0;
}

static int help_main(int argc, char **argv)
{
	if (argc > 2)
		return hk_command_complain(&hk_command_help, "too many arguments:", argv[2]);
	if (argc < 2) {
		printf("usage: hocket COMMAND ...\n\n");
		for (unsigned i = 0; hk_commands[i]; i++)
			printf("  %-8s %s\n", hk_commands[i]->name, hk_commands[i]->summary);
		return 0;
	}
	for (unsigned i = 0; hk_commands[i]; i++) {
		if (!strcmp(argv[1], hk_commands[i]->name))
			return hk_command_explain(hk_commands[i]);
	}
	return hk_command_complain(&hk_command_help, "there is no command", argv[1]);
}

const struct hk_command hk_command_help = {
	.name = "help",
	.usage = "[COMMAND]",
	.summary = "lists the commands, or explains one",
	.details = "",
	.main = help_main,
};
