/* SPDX-License-Identifier: BSD-2-Clause */
/* heat.h - how often a folio is used: recorded by readers and writers, for eviction. */
#ifndef FOLIO_SRC_CORE_HEAT_H
#define FOLIO_SRC_CORE_HEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "core/pool.h"

/*
 * A folio's heat word. The lowest bits hold one of the values below. The bits above them hold the
 * offset in the folio at which the last read ended, 0 before the first read, and HEAT_PASSED. Only
 * repeated reads count: the folio was fetched for its first read, and a read that starts where the
 * last one ended continues it, in pieces of a page or across the pages of a large folio.
 *
 * A word with HEAT_MARK holds nothing else. The read that takes the mark makes the folio cold.
 *
 * Below HEAT_HOT a reader stores a new value. A hit does not load the word: the folio's version has
 * the flag VERSION_TOUCH while reads are to be recorded (core/version.h), which whoever lowers the
 * heat sets, and whoever makes the folio hot clears. So a hit of a hot folio writes nothing, and
 * does not load the descriptor. Word and flag are hints: losing an update costs little.
 */
enum {
	HEAT_MARK,  /* first folio of a read-ahead window; its first read starts the next one */
	HEAT_AHEAD, /* fetched by read-ahead, and not read yet */
	HEAT_COLD,  /* not read again since it was fetched, or since the last scan of its queue */
	HEAT_WARM,  /* read again once */
	HEAT_HOT,   /* read again more than once */
};

#define HEAT_BITS       8
#define HEAT_MASK       ((1u << HEAT_BITS) - 1)
/* The hand of its file has passed the folio, and no read has been recorded since. */
#define HEAT_PASSED     (1u << 31)

/*
 * The word of a folio that was fetched by read-ahead. Its first read is one again, which makes it
 * cold: no read ended at the largest offset.
 */
#define HEAT_WORD_AHEAD ((~HEAT_MASK & ~HEAT_PASSED) | HEAT_AHEAD)

/*
 * Bytes in the largest folio. Every folio is aligned to its size, in the file as well, so the low
 * bits of a file offset identify the position in the folio.
 */
#define FOLIO_BYTES_MAX ((uint64_t)FOLIO_PAGE_SIZE << FOLIO_ORDER_MAX)

/* Must a read be recorded in this heat word? */
static inline bool heat_wants_touch(uint32_t word)
{
	return (word & HEAT_MASK) < HEAT_HOT;
}

/* The word after a read of @len bytes at @offset. The old one is not HEAT_MARK, nor HEAT_HOT. */
static inline uint32_t heat_after(uint32_t word, uint64_t offset, size_t len)
{
	uint32_t last = (word & ~HEAT_PASSED) >> HEAT_BITS, heat = word & HEAT_MASK;
	uint32_t end = (uint32_t)((offset + len - 1) & (FOLIO_BYTES_MAX - 1)) + 1;

	if (last != 0 && last != (offset & (FOLIO_BYTES_MAX - 1)))
		heat++;
	return end << HEAT_BITS | heat;
}

/* Store a new heat word, by the thread that fills, splits or scans the folio. */
static inline void heat_set(const struct pool *pool, struct folio *folio, uint32_t word)
{
	folio_u32_store_relaxed(&folio->heat, word);
	if (heat_wants_touch(word))
		version_touch_set(pool_version(pool, folio));
}

/*
 * The folio is hot; its version was @seen before its heat was loaded. Reads need not be recorded
 * any longer, unless an evictor has lowered the heat in the meantime: its flag may be the one that
 * was cleared.
 */
static inline void heat_is_hot(struct folio *folio, folio_u64 *version, uint64_t seen)
{
	if (!(seen & VERSION_TOUCH))
		return;
	version_touch_clear(version, seen);
	if (heat_wants_touch(folio_u32_load_relaxed(&folio->heat)))
		version_touch_set(version);
}

/* Was the folio fetched by read-ahead, and not read since? */
static inline bool heat_is_unused(uint32_t word)
{
	return (word & HEAT_MASK) < HEAT_COLD;
}

/* Was the folio not used by an access that counts since it was fetched? */
static inline bool heat_is_untouched(uint32_t word)
{
	return heat_is_unused(word) || (word & ~HEAT_PASSED) == HEAT_COLD;
}

/* The pages of a folio that leaves, if it was fetched by read-ahead and not read; else 0. */
static inline uint64_t heat_unused_pages(const struct folio *folio)
{
	return heat_is_unused(folio_u32_load_relaxed(&folio->heat)) ? UINT64_C(1) << folio->order
								    : 0;
}

/*
 * Record a read of @len bytes at @offset for eviction. Returns true if the folio carries the mark
 * of a window: the caller starts the next window. Racing readers may lose an update. @once: the
 * read leaves the heat as it is, and only takes the mark.
 */
static inline bool heat_record(
	const struct pool *pool, struct folio *folio, uint64_t offset, size_t len, bool once)
{
	folio_u64 *version = pool_version(pool, folio);
	uint64_t seen = folio_u64_load_relaxed(version);
	uint32_t word = folio_u32_load_relaxed(&folio->heat);

	if (unlikely((word & HEAT_MASK) == HEAT_MARK))
		return folio_u32_cas_relaxed(&folio->heat, &word,
			once ? HEAT_COLD : heat_after(HEAT_WORD_AHEAD, offset, len));
	if (heat_wants_touch(word) && !once)
		folio_u32_store_relaxed(&folio->heat, word = heat_after(word, offset, len));
	else if (heat_is_unused(word))
		folio_u32_store_relaxed(&folio->heat, HEAT_COLD);
	if (!heat_wants_touch(word))
		heat_is_hot(folio, version, seen);
	return false;
}

/* The same for a write, which starts no window: the mark stays for the reader that reaches it. */
static inline void heat_record_write(
	const struct pool *pool, struct folio *folio, uint64_t offset, size_t len, bool once)
{
	uint32_t heat = folio_u32_load_relaxed(&folio->heat) & HEAT_MASK;

	if (!once && heat < HEAT_HOT && heat != HEAT_MARK)
		heat_record(pool, folio, offset, len, false);
}

#endif
