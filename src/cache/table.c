/* SPDX-License-Identifier: BSD-2-Clause */
/* table.c - the table of the caches of this process. */
#include "cache/table.h"

#include <errno.h>

folio_ptr cache_table[CACHES_MAX];

int table_add(struct folio_cache *cache)
{
	int i;

	for (i = 0; i < CACHES_MAX; i++) {
		void *empty = NULL;

		if (folio_ptr_cas_release(&cache_table[i], &empty, cache))
			return i;
	}
	return -EMFILE;
}
