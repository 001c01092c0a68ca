/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * input.h - which files the command reads.
 */
#ifndef FOLIO_TOOLS_INPUT_H
#define FOLIO_TOOLS_INPUT_H

#include <sys/stat.h>

/*
 * What is against reading the file, told before it is read; NULL: nothing. fd: the file, open for reading so that opening it
 * did not wait (O_NONBLOCK). stat: set.
 */
const char *input_objection(int fd, struct stat *stat);

/* The same of the kind of file alone. */
const char *input_kind_objection(const struct stat *stat);

#endif
