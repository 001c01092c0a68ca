/* SPDX-License-Identifier: BSD-2-Clause */
/* size.h - the size of a file, and how many of its bytes and pages that makes. */
#ifndef FOLIO_SRC_CACHE_SIZE_H
#define FOLIO_SRC_CACHE_SIZE_H

#include <stdint.h>
#include <string.h>

#include "cache/types.h"

/* Make the file at least @size bytes long. The caller holds size_lock if that is longer. */
static inline void inode_grow_to(struct inode *inode, uint64_t size)
{
	/* release: pairs with the acquire of a reader that loads the size before a look-up. */
	if (size > folio_u64_load_relaxed(&inode->size))
		folio_u64_store_release(&inode->size, size);
}

/* How many bytes of a file of @size bytes are in the folio. */
static inline uint64_t folio_bytes_in_file(const struct folio *folio, uint64_t size)
{
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT, bytes = folio_size(folio);

	if (size <= start)
		return 0;
	return size - start < bytes ? size - start : bytes;
}

/*
 * Make at least @valid bytes of the folio valid: those past folio->valid become zeros. The caller
 * has called version_write_begin, and either has the folio locked or has just set FOLIO_WRITEBACK.
 */
static inline void folio_zero_to(struct folio *folio, uint64_t valid)
{
	uint32_t had = folio_u32_load_relaxed(&folio->valid);

	if (valid <= had)
		return;
	memset((char *)folio->data + had, 0, valid - had);
	folio_u32_store_relaxed(&folio->valid, (uint32_t)valid);
}

/* How many pages a file of @size bytes has. */
static inline uint64_t size_pages(uint64_t size)
{
	return (size >> FOLIO_PAGE_SHIFT) + !!(size & (FOLIO_PAGE_SIZE - 1));
}

#endif
