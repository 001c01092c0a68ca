/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin-loop.c - the measured path. It is compiled into each module with the library, because
 * folio_put is inline.
 */
#include "pin-loop.h"

#include <fcntl.h>
#include <string.h>

#include <folio/cache.h>

static int loop_open(const char *path, void **file)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 16 << 20};
	struct folio_cache *cache;
	struct folio_file *opened;
	int r = folio_cache_open(&params, &cache);

	if (!r)
		r = folio_file_open(cache, path, O_RDONLY, 0, &opened);
	if (!r)
		*file = opened;
	return r;
}

static uint64_t loop_run(void *file, uint64_t count)
{
	uint64_t i, sum = 0;

	for (i = 0; i < count; i++) {
		struct folio *folio;
		uint64_t word[8];
		void *page;

		if (folio_file_get_page(file, 0, 0, &folio, &page))
			return UINT64_MAX;
		memcpy(word, (char *)page + (i & 63) * 64, sizeof(word));
		sum += word[i & 7];
		folio_put(folio);
	}
	return sum;
}

__attribute__((visibility("default"))) const struct pin_loop pin_loop = {loop_open, loop_run};
