/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text.h - numbers and names as they are printed in tables, summaries and pictures.
 */
#ifndef FOLIO_TOOLS_TEXT_H
#define FOLIO_TOOLS_TEXT_H

#include <stddef.h>

/*
 * Copy text as valid UTF-8 without control characters, for JSON and XML. Bytes that are not valid
 * become U+FFFD.
 */
void text_clean(char *clean, size_t size, const char *text);

/*
 * A file name for people: bytes that cannot be shown become '?', and a long name keeps only its
 * beginning and its end. In a static buffer.
 */
const char *text_name(const char *name);

/* Columns that text takes: characters, not bytes. */
int text_width(const char *text);

/* A number with three digits: "0.82", "17.3", "291"; "-" for none. In one of a few buffers. */
const char *text_three_digits(double value);

#endif
