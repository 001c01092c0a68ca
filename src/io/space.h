/* SPDX-License-Identifier: BSD-2-Clause */
/* space.h - which parts of a file have blocks, for the library's own backends. */
#ifndef FOLIO_SRC_IO_SPACE_H
#define FOLIO_SRC_IO_SPACE_H

#include <stdint.h>

#include <folio/io.h>

/* As the functions of struct folio_io_ops. */
int io_space_extents(void *context, void *handle, uint64_t offset, struct folio_io_extent *extents,
	unsigned count);
int io_space_allocate(void *context, void *handle, uint64_t offset, uint64_t len);

#endif
