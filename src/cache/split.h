/* SPDX-License-Identifier: BSD-2-Clause */
/* split.h - splitting a large folio into smaller ones. */
#ifndef FOLIO_SRC_CACHE_SPLIT_H
#define FOLIO_SRC_CACHE_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/*
 * Split a large folio by halves, so that page @index is in a folio of its own. The caller has the
 * folio pinned and locked; afterwards it has the lock and a pin on the first of the new ones.
 * Returns false if the folio is pinned by others, dirty, or has left its file; then it is
 * unchanged.
 */
bool inode_split(struct inode *inode, struct folio *folio, uint64_t index);

#endif
