/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors and the log. Inside the library a function returns 0 (or a count) or a negative code:
 * -errno, or one of the codes below, which start above every errno. Whoever first turns a failure
 * into a code calls hk_fail() once, with the cause and the remedy; callers above it only pass the
 * code on. The public entry points convert codes to hocketResult_t, and hocketGetLastError()
 * returns the sentence.
 */
#ifndef HK_BASE_ERROR_H
#define HK_BASE_ERROR_H

#include <stdbool.h>

enum {
	HK_EMISMATCH = 513, /* ranks called different collectives, counts, types or operations */
	HK_EPEER = 514,	    /* another rank died, aborted or reported an error */
	HK_EABORT = 515,    /* this communicator was aborted by its own process */
	HK_EPROOF = 516,    /* a schedule is wrong: the checker's sentence says where */
	HK_EAUTH = 517,	    /* the other end does not know the secret of this unique id */
	HK_EWIRE = 518,	    /* bytes from another process that make no sense */
	HK_EUSAGE = 519,    /* a valid call at a wrong time, such as on a finalized communicator */
	HK_ECUDA = 521,	    /* the CUDA driver refused something, or is not there */
	HK_ESWITCH = 520,   /* a switch that took part in a call failed; the communicator goes on */
};

enum hk_level { HK_LOG_NONE, HK_LOG_ERROR, HK_LOG_WARN, HK_LOG_INFO, HK_LOG_TRACE };

/* Records the sentence as this thread's last error, logs it once, and returns -code. */
int hk_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* As hk_fail, for failures that the caller is to handle: recorded, logged only at level INFO. */
int hk_fail_quiet(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* Between on and off this thread's hk_fail is as quiet: what fails may matter to nobody, and
 * whoever finds that it does says it again. */
void hk_hush(bool on);
/* This thread's last sentence, "" if none. Valid until the thread's next failure. */
const char *hk_last_error(void);
/* Makes text this thread's last sentence without logging it: to carry one over from another thread.
 */
void hk_set_last_error(const char *text);
/* Short name of a code, negative or positive: "peer failed", or what strerror says. */
const char *hk_code_name(int code);

void hk_log(enum hk_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
int hk_log_enabled(enum hk_level level);

#endif
