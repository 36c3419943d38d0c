/* SPDX-License-Identifier: BSD-3-Clause */
/* The last error of each thread, and the log on standard error. See error.h for who calls what. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "param.h"

static _Thread_local char last[512];
static _Thread_local bool hushed;

static const struct {
	int code;
	const char *name;
} own_codes[] = {
	{HK_EMISMATCH, "ranks disagree about the call"},
	{HK_EPEER, "peer failed"},
	{HK_EABORT, "aborted"},
	{HK_EPROOF, "schedule is wrong"},
	{HK_EAUTH, "authentication failed"},
	{HK_EWIRE, "malformed message"},
	{HK_EUSAGE, "invalid usage"},
	{HK_ESWITCH, "a switch failed"},
	{HK_ECUDA, "CUDA failed"},
};

const char *hk_code_name(int code)
{
	if (code < 0)
		code = -code;
	for (unsigned i = 0; i < sizeof(own_codes) / sizeof(own_codes[0]); i++)
		if (own_codes[i].code == code)
			return own_codes[i].name;
	return strerrordesc_np(code) ? strerrordesc_np(code) : "unknown error";
}

int hk_log_enabled(enum hk_level level)
{
	return level <= hk_param(HK_PARAM_DEBUG);
}

static void write_line(enum hk_level level, const char *text)
{
	static const char *const names[] = {"", "error", "warning", "info", "trace"};
	char line[640];
	int n = snprintf(line, sizeof(line), "hocket[%d] %s: %s\n", (int)getpid(), names[level],
			 text);

	if (n >= (int)sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	/* One write per line, so that lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void hk_log(enum hk_level level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!hk_log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_line(level, text);
}

static int fail(enum hk_level level, int code, const char *fmt, va_list ap)
{
	char text[sizeof(last)];

	/* Not straight into `last`: the arguments may point there. */
	vsnprintf(text, sizeof(text), fmt, ap);
	memcpy(last, text, sizeof(last));
	if (hk_log_enabled(level))
		write_line(level, last);
	return code < 0 ? code : -code;
}

int hk_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	code = fail(hushed ? HK_LOG_INFO : HK_LOG_WARN, code, fmt, ap);
	va_end(ap);
	return code;
}

int hk_fail_quiet(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	code = fail(HK_LOG_INFO, code, fmt, ap);
	va_end(ap);
	return code;
}

void hk_hush(bool on)
{
	hushed = on;
}

const char *hk_last_error(void)
{
	return last;
}

void hk_set_last_error(const char *text)
{
	snprintf(last, sizeof(last), "%s", text);
}
