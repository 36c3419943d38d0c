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
extern const struct hk_command hk_command_topo;
extern const struct hk_command hk_command_explain_choice;
extern const struct hk_command hk_command_tune;
extern const struct hk_command hk_command_switch;
extern const struct hk_command hk_command_version;
extern const struct hk_command hk_command_help;

/* All of them, ended by NULL. */
extern const struct hk_command *const hk_commands[];
/* Prints how the command is used; returns 0. */
int hk_command_explain(const struct hk_command *c);
/* What to complain of after getopt_long, with opterr 0 and a ':' before the short flags, gave ':'
 * or
 * '?': a sentence that names the flag. It stays until the next call. */
const char *hk_command_flag_problem(int got, char *const *argv);
/* Says what is wrong and how the command is used, on standard error; returns 2. */
int hk_command_complain(const struct hk_command *c, const char *what, const char *value);

#endif
