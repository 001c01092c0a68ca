/* SPDX-License-Identifier: BSD-2-Clause */
/* truncate.h - the size of a file, and holes in it. */
#ifndef FOLIO_SRC_WRITE_TRUNCATE_H
#define FOLIO_SRC_WRITE_TRUNCATE_H

#include <stdint.h>

#include "cache/call.h"

/* From page @index on, no page is written back. UINT64_MAX: all pages are again. */
void set_fence(struct inode *inode, uint64_t index);

/* As file_truncate. The caller has map_lock, exclusively. */
int truncate_locked(struct call *call, struct folio_file *file, uint64_t size);

/* As folio_file_truncate, with valid arguments; @call has no deadline. */
int file_truncate(struct call *call, struct folio_file *file, uint64_t size);

#endif
