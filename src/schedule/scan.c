/* SPDX-License-Identifier: BSD-3-Clause */
/* Words and numbers of a text, see scan.h. Never looks past the text's end: it has no NUL. */
#include "scan.h"

#include <string.h>

#include "file.h"

void hk_scan_begin(struct hk_scan *s, const char *source, const char *text, size_t length)
{
	*s = (struct hk_scan){
		.source = source, .next = text, .limit = text + length, .at = text, .end = text};
}

static void skip_blanks(struct hk_scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r'))
		s->at++;
}

bool hk_scan_line(struct hk_scan *s)
{
	while (s->next < s->limit) {
		size_t left = (size_t)(s->limit - s->next);
		const char *end = memchr(s->next, '\n', left), *comment;

		if (!end)
			end = s->limit;
		s->line++;
		s->at = s->next;
		s->next = end < s->limit ? end + 1 : end;
		comment = memchr(s->at, '#', (size_t)(end - s->at));
		s->end = comment ? comment : end;
		if (!hk_scan_ended(s))
			return true;
	}
	s->at = s->end = s->limit;
	return false;
}

bool hk_scan_ended(struct hk_scan *s)
{
	skip_blanks(s);
	return s->at == s->end;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static size_t word_length(struct hk_scan *s)
{
	size_t n = 0;

	skip_blanks(s);
	while (s->at + n < s->end && is_letter(s->at[n]))
		n++;
	return n;
}

bool hk_scan_word(struct hk_scan *s, const char *word)
{
	size_t n = word_length(s);

	if (n != strlen(word) || memcmp(s->at, word, n) != 0)
		return false;
	s->at += n;
	return true;
}

bool hk_scan_sign(struct hk_scan *s, const char *sign)
{
	size_t n = strlen(sign);

	skip_blanks(s);
	if ((size_t)(s->end - s->at) < n || memcmp(s->at, sign, n) != 0)
		return false;
	s->at += n;
	return true;
}

const char *hk_scan_any_word(struct hk_scan *s, size_t *length)
{
	const char *word;

	*length = word_length(s);
	word = s->at;
	s->at += *length;
	return word;
}

int hk_scan_fail(struct hk_scan *s, const char *wanted)
{
	char found[32];
	size_t n = 0;

	skip_blanks(s);
	while (n < sizeof(found) - 1 && s->at + n < s->end) {
		found[n] = s->at[n] >= ' ' && s->at[n] <= '~' ? s->at[n] : '?';
		n++;
	}
	found[n] = 0;
	if (!n)
		return hk_file_fail(s->source, s->line, "%s is missing at the end of the line",
				    wanted);
	return hk_file_fail(s->source, s->line, "%s should stand before '%s'", wanted, found);
}

int hk_scan_need(struct hk_scan *s, const char *word_or_sign)
{
	char quoted[32];

	if (is_letter(word_or_sign[0]) ? hk_scan_word(s, word_or_sign)
				       : hk_scan_sign(s, word_or_sign))
		return 0;
	snprintf(quoted, sizeof(quoted), "'%s'", word_or_sign);
	return hk_scan_fail(s, quoted);
}

int hk_scan_number(struct hk_scan *s, const char *what, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;
	const char *at;

	skip_blanks(s);
	at = s->at;
	while (at < s->end && *at >= '0' && *at <= '9') {
		uint64_t digit = (uint64_t)(*at++ - '0');

		if (digit > max || v > (max - digit) / 10)
			return hk_file_fail(s->source, s->line, "%s is more than %llu", what,
					    (unsigned long long)max);
		v = v * 10 + digit;
	}
	if (at == s->at)
		return hk_scan_fail(s, what);
	s->at = at;
	*value = v;
	return 0;
}

int hk_scan_need_end(struct hk_scan *s)
{
	return hk_scan_ended(s) ? 0 : hk_scan_fail(s, "the end of the line");
}
