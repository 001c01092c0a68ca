/* SPDX-License-Identifier: BSD-2-Clause */
/* alloc.c - user-defined folios. */
#include <errno.h>

#include "cache/call.h"
#include "evict/evict.h"

int folio_alloc(
	struct folio_cache *cache, unsigned order, unsigned type, void *owner, struct folio **folio)
{
	const struct page_request request = {order, .effort = EVICT_WAIT};
	struct folio *taken;
	struct call call;
	int r;

	if (!cache || !folio || order > FOLIO_ORDER_MAX || type < FOLIO_TYPE_PRIVATE ||
		type >= folio_u32_load_acquire(&cache->types_count))
		return -EINVAL;
	r = call_begin(&call, cache, cache->id, false);
	if (r)
		return r;
	r = evict_alloc(&call, request, &taken);
	if (r)
		return r;
	/* The version stays odd: no reader copies from the folio. */
	pool_begin_use(&cache->pool, taken, (uint8_t)type, owner, 0);
	folio_u32_store_relaxed(&taken->flags, FOLIO_UPTODATE);
	folio_u64_fetch_add_relaxed(&cache->pages_private, UINT64_C(1) << order);
	folio_ref_unfreeze(&taken->ref, 1);
	/* From here on the program holds the folio. */
	progress_end(&cache->progress, false);
	*folio = taken;
	return 0;
}
