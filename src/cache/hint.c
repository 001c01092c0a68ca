/* SPDX-License-Identifier: BSD-2-Clause */
/* hint.c - publishing the hints of a folio. */
#include "cache/hint.h"

#include <stdint.h>

void hint_publish(const struct inode *inode, const struct folio *folio)
{
	const struct pool *pool = &inode->cache->pool;
	uint64_t offset = folio->index << FOLIO_PAGE_SHIFT;
	/*
	 * Loaded once: it may change, and indices computed with two different shifts are far apart.
	 */
	unsigned shift = folio_u8_load_relaxed(&inode->hint_shift);
	uint64_t at = inode->hint_start + (offset >> shift);
	uint64_t last = inode->hint_start + ((offset + folio_size(folio) - 1) >> shift);
	uint32_t hint = hint_make(pool_page(pool, folio), folio_order(folio));

	for (; at <= last; at++)
		folio_u32_store_relaxed(&pool->hint[at & pool->hint_mask], hint);
}
