// SPDX-License-Identifier: GPL-2.0-only
/* library.c - include/folio/ref.h over recorded accesses. */
#include <folio/ref.h>

#include "worlds.h"

static bool try_get(uint32_t *word, uint32_t n)
{
	return folio_ref_try_get_n((struct folio_ref *)word, n);
}

static void get(uint32_t *word, uint32_t n)
{
	folio_ref_get_n((struct folio_ref *)word, n);
}

static bool put(uint32_t *word, uint32_t n)
{
	return folio_ref_put_n((struct folio_ref *)word, n);
}

static bool try_freeze(uint32_t *word, uint32_t expected)
{
	return folio_ref_try_freeze((struct folio_ref *)word, expected);
}

static void unfreeze(uint32_t *word, uint32_t count)
{
	folio_ref_unfreeze((struct folio_ref *)word, count);
}

static void init_frozen(uint32_t *word)
{
	folio_ref_init_frozen((struct folio_ref *)word);
}

static uint32_t count(uint32_t *word)
{
	return folio_ref_count((struct folio_ref *)word);
}

static bool is_frozen(uint32_t *word)
{
	return folio_ref_is_frozen((struct folio_ref *)word);
}

const struct world library = {
	"ref.h", try_get, get, put, try_freeze, unfreeze, init_frozen, count, is_frozen};
