/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * input.h - the kinds of file that the command can read.
 */
#ifndef FOLIO_TOOLS_INPUT_H
#define FOLIO_TOOLS_INPUT_H

#include <sys/stat.h>

/*
 * Open a file that the command can read: a regular file or a block device of a known size. Its kind
 * is checked first, since opening another file has effects: it wakes the other end of a pipe, or
 * starts a device. flags: O_RDONLY or O_RDWR. Sets *file.
 * Returns a descriptor, or -1 and the reason.
 */
int input_open(const char *path, int flags, struct stat *file, const char **reason);

#endif
