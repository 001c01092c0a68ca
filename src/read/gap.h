/* SPDX-License-Identifier: BSD-2-Clause */
/* gap.h - which pages of a file are not cached: snapshots, which may be outdated at once. */
#ifndef FOLIO_SRC_READ_GAP_H
#define FOLIO_SRC_READ_GAP_H

#include <stdint.h>

#include "read/op.h"

/* The first page from @index on, before @end, that is cached; @end if none is. */
uint64_t gap_end(struct inode *inode, uint64_t index, uint64_t end);

/* The page after the folio that has page @index; @index if the page is not cached. */
uint64_t gap_begin(struct inode *inode, uint64_t index);

/* How many pages of @range are not cached. */
uint64_t gap_pages(struct inode *inode, struct page_range range);

#endif
