/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket doctor`: what this build and this machine offer, every parameter with the value in force,
 * the launchers' variables, and HOCKET_ variables that nobody reads: typing errors. The first thing
 * to attach to a report of a problem, so it never prints the secret id.
 */
#include <hocket/hocket.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "command.h"
#include "devices.h"
#include "kernels.h"
#include "param.h"
#include "variables.h"

static void print_version(void)
{
	int code = 0;

	hocketGetVersion(&code);
	printf("library\n  version             %d.%d.%d\n", code / 10000, code / 100 % 100,
	       code % 100);
	printf("  built with          verbs: %s, cuda: %s, mpi (launch): %s, pmix (launch): %s\n",
	       HOCKET_WITH_VERBS ? "yes" : "no", HOCKET_WITH_CUDA ? "yes" : "no",
	       HOCKET_WITH_MPI ? "yes" : "no", HOCKET_WITH_PMIX ? "yes" : "no");
	printf("  kernels             %s\n", hk_kernels()->name);
}

/* The text after the colon of the first line of path that starts with key. */
static void find_line(const char *path, const char *key, char *value, size_t size)
{
	FILE *f = fopen(path, "r");
	char line[512];

	snprintf(value, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (!strncmp(line, key, strlen(key)) && colon) {
			line[strcspn(line, "\n")] = 0;
			colon++;
			snprintf(value, size, "%s", colon + strspn(colon, " \t"));
			break;
		}
	}
	if (f)
		fclose(f);
}

static void print_first_line(const char *label, const char *path)
{
	FILE *f = fopen(path, "r");
	char line[128] = "";

	if (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		printf("  %-19s %s\n", label, line);
	}
	if (f)
		fclose(f);
}

static void print_limit(const char *label, int resource)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit))
		return;
	if (limit.rlim_cur == RLIM_INFINITY)
		printf("  %-19s unlimited\n", label);
	else
		printf("  %-19s %llu\n", label, (unsigned long long)limit.rlim_cur);
}

static void print_machine(void)
{
	struct utsname system;
	char text[128];
	cpu_set_t allowed;

	printf("machine\n");
	if (!uname(&system))
		printf("  system              %s %s %s\n", system.sysname, system.release,
		       system.machine);
	find_line("/proc/cpuinfo", "model name", text, sizeof(text));
	printf("  processor           %s\n", text);
	CPU_ZERO(&allowed);
	if (!sched_getaffinity(0, sizeof(allowed), &allowed))
		printf("  cpus                %d allowed here, %ld online\n", CPU_COUNT(&allowed),
		       sysconf(_SC_NPROCESSORS_ONLN));
	find_line("/proc/meminfo", "MemAvailable", text, sizeof(text));
	printf("  memory available    %s\n", text);
	print_limit("locked memory (B)", RLIMIT_MEMLOCK);
	print_limit("open files", RLIMIT_NOFILE);
	print_limit("address space (B)", RLIMIT_AS);
	print_first_line("ptrace scope (CMA)", "/proc/sys/kernel/yama/ptrace_scope");
	print_first_line("somaxconn", "/proc/sys/net/core/somaxconn");
	hk_devices_print_rdma();
	hk_devices_print_cuda();
}

static void print_parameters(void)
{
	struct hk_param_info info;

	printf("parameters (environment variables; * set there)\n");
	for (unsigned i = 0; !hk_param_describe(i, &info); i++)
		printf("%c %-22s %-10s %s\n", info.from_env ? '*' : ' ', info.name,
		       *info.value ? info.value : "-", info.help);
}

static void print_launch_variables(void)
{
	printf("launchers (environment variables that place a process; * set)\n");
	for (int i = 0; i < HK_NLAUNCH_VARIABLES; i++) {
		const struct hk_launch_variable *v = &hk_launch_variables[i];
		const char *value = getenv(v->name);

		printf("%c %-22s %-10s %s\n", value ? '*' : ' ', v->name,
		       !value	   ? "-"
		       : v->secret ? "(secret)"
				   : value,
		       v->help);
	}
}

/* Whether somebody reads the variable whose name is the first `length` characters. */
static bool is_known(const char *name, size_t length)
{
	struct hk_param_info info;

	for (unsigned i = 0; !hk_param_describe(i, &info); i++)
		if (strlen(info.name) == length && !strncmp(info.name, name, length))
			return true;
	for (int i = 0; i < HK_NLAUNCH_VARIABLES; i++)
		if (strlen(hk_launch_variables[i].name) == length &&
		    !strncmp(hk_launch_variables[i].name, name, length))
			return true;
	return false;
}

static void print_unknown_variables(void)
{
	for (char **v = environ; *v; v++) {
		size_t length = strcspn(*v, "=");

		if (!strncmp(*v, "HOCKET_", 7) && !is_known(*v, length))
			printf("unknown, ignored: %.*s\n", (int)length, *v);
	}
}

static int doctor_main(int argc, char **argv)
{
	if (argc > 1)
		return hk_command_complain(&hk_command_doctor, "unknown argument", argv[1]);
	print_version();
	print_machine();
	print_parameters();
	print_launch_variables();
	print_unknown_variables();
	return 0;
}

const struct hk_command hk_command_doctor = {
	.name = "doctor",
	.usage = "",
	.summary = "shows what this build and this machine offer, and all environment variables",
	.details = "",
	.main = doctor_main,
};
