/* SPDX-License-Identifier: BSD-2-Clause */
/* timed-world.h - calls of a cache on a device that stops, with a clock that the test moves. */
#ifndef FOLIO_TESTS_TIMED_WORLD_H
#define FOLIO_TESTS_TIMED_WORLD_H

#include "stalled-device.h"
#include "timed-call.h"

static inline ssize_t call_read(struct world *world, uint64_t index)
{
	unsigned char got[FOLIO_PAGE_SIZE], page[FOLIO_PAGE_SIZE];
	ssize_t r = folio_file_read(world->file, got, PAGE, index * PAGE);

	fill_page(page, index);
	return r == (ssize_t)PAGE && memcmp(got, page, PAGE) ? -EBADMSG : r;
}

/* Write page @index, with 1000 more than its number. */
static inline ssize_t call_write(struct world *world, uint64_t index)
{
	unsigned char page[FOLIO_PAGE_SIZE];

	fill_page(page, 1000 + index);
	return folio_file_write(world->file, page, PAGE, index * PAGE);
}

/* Lock page @index in place, and unlock it. */
static inline ssize_t call_lock(struct world *world, uint64_t index)
{
	struct folio *folio;
	int r = folio_file_get(world->file, index, 0, &folio);

	if (r)
		return r;
	r = folio_lock(folio);
	if (!r)
		folio_unlock(folio);
	folio_put(folio);
	return r;
}

static inline ssize_t call_sync(struct world *world, uint64_t flags)
{
	return folio_file_sync(world->file, NULL, (unsigned)flags);
}

static inline ssize_t call_truncate(struct world *world, uint64_t pages)
{
	return folio_file_truncate(world->file, pages * PAGE);
}

static inline ssize_t call_resize(struct world *world, uint64_t pages)
{
	return folio_cache_resize(world->cache, pages * PAGE);
}

static inline ssize_t call_close(struct world *world, uint64_t arg)
{
	(void)arg;
	return folio_file_close(world->file);
}

#endif
