/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words and numbers of a text that is read line by line, for the reader of schedules. A '#' begins
 * a comment that lasts to the end of its line; empty lines do not count. Private to this folder.
 */
#ifndef HK_SCHEDULE_SCAN_H
#define HK_SCHEDULE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hk_scan {
	const char *source;	  /* for sentences */
	const char *next, *limit; /* the text after this line */
	const char *at, *end;	  /* what is left of this line */
	unsigned line;
};

void hk_scan_begin(struct hk_scan *s, const char *source, const char *text, size_t length);
/* Goes to the next line that says something; false: there is none. */
bool hk_scan_line(struct hk_scan *s);
bool hk_scan_ended(struct hk_scan *s); /* nothing is left of this line */
/* Skips the word (letters, digits and '_') or the sign if it comes next. */
bool hk_scan_word(struct hk_scan *s, const char *word);
bool hk_scan_sign(struct hk_scan *s, const char *sign);
/* The word that comes next, without its end; length 0 if none does. */
const char *hk_scan_any_word(struct hk_scan *s, size_t *length);
/* Each of these says what it wanted and what it found, and returns -EINVAL. */
int hk_scan_need(struct hk_scan *s, const char *word_or_sign);
int hk_scan_number(struct hk_scan *s, const char *what, uint64_t max, uint64_t *value);
int hk_scan_need_end(struct hk_scan *s);
int hk_scan_fail(struct hk_scan *s, const char *wanted);

#endif
