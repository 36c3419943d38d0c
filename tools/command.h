/* SPDX-License-Identifier: BSD-3-Clause */
/* The subcommands of `hocket`: one file each, and a row in the table in hocket.c. */
#ifndef HOCKET_TOOLS_COMMAND_H
#define HOCKET_TOOLS_COMMAND_H

struct hk_command {
	const char *name;
	const char *usage;   /* what follows the name */
	const char *summary; /* one line */
	const char *details; /* the rest of `hocket help NAME`; "" if there is none */
	/* argv[0] is the subcommand's name. Returns the exit status. */
	int (*main)(int argc, char **argv);
};

extern const struct hk_command hk_command_run;
extern const struct hk_command hk_command_doctor;
extern const struct hk_command hk_command_schedule;
extern const struct hk_command hk_command_version;
extern const struct hk_command hk_command_help;

/* All of them, ended by NULL. */
extern const struct hk_command *const hk_commands[];
/* Says what is wrong and how the command is used, on standard error; returns 2. */
int hk_command_complain(const struct hk_command *c, const char *what, const char *value);

#endif
