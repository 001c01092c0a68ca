/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.h - a line on the terminal that the next one replaces; nothing where standard error is none.
 */
#ifndef FOLIO_TOOLS_PROGRESS_H
#define FOLIO_TOOLS_PROGRESS_H

void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Take the line away: before anything else is said there, and at the end. */
void progress_end(void);

#endif
