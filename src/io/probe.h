/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe.h - handles of files that are not opened (FOLIO_IO_PROBE).
 *
 * The cache probes a file before it opens it, to find out whether it has it open already. Most
 * files are not open, so a probe costs one system call until more than device and inode is asked.
 */
#ifndef FOLIO_SRC_IO_PROBE_H
#define FOLIO_SRC_IO_PROBE_H

#include "io/file.h"

/* As io_file_open and io_file_open_fd. */
int io_probe_open(const char *path, int flags, void **handle);
int io_probe_open_fd(int fd, const struct stat *st, void **handle);
void io_probe_close(struct io_file *file);
int io_probe_getattr(struct io_file *file, struct folio_io_attr *attr);

#endif
