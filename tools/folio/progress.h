/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.h - a line of progress on standard error, which the next one replaces. Nothing is
 * printed if standard error is not a terminal.
 */
#ifndef FOLIO_TOOLS_PROGRESS_H
#define FOLIO_TOOLS_PROGRESS_H

void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Erase the line. Call it before anything else is printed there, and at the end. */
void progress_end(void);

#endif
