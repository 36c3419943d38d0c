/* SPDX-License-Identifier: BSD-3-Clause */
/* `hocket version`: that of the library that this command runs with. */
#include <stdio.h>

#include <hocket/hocket.h>

#include "command.h"

static int version_main(int argc, char **argv)
{
	int code = 0;

	if (argc > 1)
		return hk_command_complain(&hk_command_version, "unknown argument", argv[1]);
	hocketGetVersion(&code);
	printf("hocket %d.%d.%d\n", code / 10000, code / 100 % 100, code % 100);
	return 0;
}

const struct hk_command hk_command_version = {
	.name = "version",
	.usage = "",
	.summary = "prints the library's version",
	.details = "",
	.main = version_main,
};
