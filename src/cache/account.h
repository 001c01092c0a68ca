/* SPDX-License-Identifier: BSD-2-Clause */
/* account.h - how many pages of a file are in its tree. */
#ifndef FOLIO_SRC_CACHE_ACCOUNT_H
#define FOLIO_SRC_CACHE_ACCOUNT_H

#include <stdint.h>

#include "base/compiler.h"
#include "cache/closed.h"
#include "cache/types.h"

/*
 * Account for @pages that enter the tree, or leave it (@pages is negative). The caller holds the
 * tree's lock. If the file is closed, and this was its last page, it may be freed.
 */
static inline void inode_account_locked(struct inode *inode, int64_t pages)
{
	uint64_t all = folio_u64_load_relaxed(&inode->pages) + (uint64_t)pages;

	folio_u64_store_relaxed(&inode->pages, all);
	if (unlikely(inode->closed) && !all)
		closed_emptied_locked(inode);
}

#endif
