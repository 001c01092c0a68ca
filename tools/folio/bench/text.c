/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/text.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Characters of a file name in a headline, which is one line of the picture. */
#define NAME_WIDTH 56

const char *text_three_digits(double value)
{
	static char buffers[8][32];
	static unsigned next;
	char *buffer = buffers[next++ % 8];
	int digits = 0;

	if (!isfinite(value))
		return "-";
	if (value != 0) {
		digits = 2 - (int)floor(log10(fabs(value)));
		/* 9.996 is printed as 10.0, not as 10.00. */
		if (digits >= 0 && fabs(value) * pow(10, digits) >= 999.5)
			digits--;
	}
	snprintf(buffer, sizeof(buffers[0]), "%.*f",
		digits < 0   ? 0
		: digits > 6 ? 6
			     : digits,
		value);
	return buffer;
}

int text_width(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

/* Bytes of the UTF-8 sequence at text; 0 if it is invalid, or not allowed in XML and JSON. */
static unsigned utf8_length(const unsigned char *text)
{
	unsigned length, i;
	uint32_t code;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if (text[0] >= 0xc2 && text[0] < 0xe0)
		length = 2;
	else if (text[0] >= 0xe0 && text[0] < 0xf0)
		length = 3;
	else if (text[0] >= 0xf0 && text[0] < 0xf5)
		length = 4;
	else
		return 0;
	code = text[0] & (0x7fu >> length);
	for (i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < (length == 4 ? 0x10000u : length == 3 ? 0x800u : 0x80u) || code > 0x10ffff)
		return 0;
	if ((code >= 0xd800 && code < 0xe000) || (code & 0xfffe) == 0xfffe || code < 0xa0)
		return 0;
	return length;
}

void text_clean(char *clean, size_t size, const char *text)
{
	const unsigned char *next = (const unsigned char *)text;
	size_t used = 0;
	unsigned length;

	while (*next && used + 5 < size) {
		length = utf8_length(next);
		if (length) {
			memcpy(clean + used, next, length);
			used += length;
			next += length;
		} else {
			memcpy(clean + used, "\xef\xbf\xbd", 3);
			used += 3;
			next++;
		}
	}
	clean[used] = '\0';
}

/* The first byte of character number: continuation bytes begin with the bits 10. */
static char *character(char *text, int number)
{
	for (; *text; text++) {
		if ((*text & 0xc0) != 0x80 && number-- == 0)
			break;
	}
	return text;
}

const char *text_name(const char *name)
{
	static const char gap[] = "\xe2\x80\xa6";
	static char clean[3 * PATH_MAX];
	char *bad, *begin, *end;
	int width;

	text_clean(clean, sizeof(clean), name);
	while ((bad = strstr(clean, "\xef\xbf\xbd"))) {
		*bad = '?';
		memmove(bad + 1, bad + 3, strlen(bad + 3) + 1);
	}
	width = text_width(clean);
	if (width > NAME_WIDTH) {
		begin = character(clean, NAME_WIDTH / 2);
		end = character(clean, width - (NAME_WIDTH - NAME_WIDTH / 2 - 1));
		memmove(begin + strlen(gap), end, strlen(end) + 1);
		memcpy(begin, gap, strlen(gap));
	}
	return clean;
}
