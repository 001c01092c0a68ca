// SPDX-License-Identifier: GPL-2.0-only
/* kernel.c - the patched include/linux/page_ref.h over recorded accesses. */
#include <linux/page_ref.h>

#include "worlds.h"

/* Uses the function for a single reference where one exists. */
static bool try_get(uint32_t *word, uint32_t n)
{
	if (n == 1)
		return folio_try_get((struct folio *)word);
	return folio_ref_try_add((struct folio *)word, n);
}

static void get(uint32_t *word, uint32_t n)
{
	if (n == 1)
		page_ref_inc((struct page *)word);
	else
		page_ref_add((struct page *)word, n);
}

static bool put(uint32_t *word, uint32_t n)
{
	if (n == 1)
		return page_ref_dec_and_test((struct page *)word);
	return page_ref_sub_and_test((struct page *)word, n);
}

static bool try_freeze(uint32_t *word, uint32_t expected)
{
	return page_ref_freeze((struct page *)word, expected);
}

static void unfreeze(uint32_t *word, uint32_t count)
{
	page_ref_unfreeze((struct page *)word, count);
}

static void init_frozen(uint32_t *word)
{
	page_ref_init_frozen((struct page *)word);
}

static uint32_t count(uint32_t *word)
{
	return page_ref_count((struct page *)word);
}

static bool is_frozen(uint32_t *word)
{
	return page_ref_is_frozen((struct page *)word);
}

const struct world kernel = {
	"page_ref.h", try_get, get, put, try_freeze, unfreeze, init_frozen, count, is_frozen};
