/* SPDX-License-Identifier: BSD-2-Clause */
/* heat.h - how often a folio is used: recorded by readers and writers, for eviction. */
#ifndef FOLIO_SRC_CORE_HEAT_H
#define FOLIO_SRC_CORE_HEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "core/folio.h"

/*
 * A folio's heat word. The lowest bits hold one of the values below. The bits above them hold the
 * offset in the folio at which the last read ended, 0 before the first read, and HEAT_PASSED. Only
 * repeated reads count: the folio was fetched for its first read, and a read that starts where the
 * last one ended continues it, in pieces of a page or across the pages of a large folio.
 *
 * A word with HEAT_MARK holds nothing else. The read that takes the mark makes the folio cold.
 *
 * Below HEAT_HOT a reader stores a new value. From there on it only loads the word, so that the
 * cache line of a hot folio stays shared. The word is a hint: losing an update costs little.
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
static inline bool heat_record(struct folio *folio, uint64_t offset, size_t len, bool once)
{
	uint32_t word = folio_u32_load_relaxed(&folio->heat);

	if (likely(!heat_wants_touch(word)))
		return false;
	if (unlikely((word & HEAT_MASK) == HEAT_MARK))
		return folio_u32_cas_relaxed(&folio->heat, &word,
			once ? HEAT_COLD : heat_after(HEAT_WORD_AHEAD, offset, len));
	if (!once)
		folio_u32_store_relaxed(&folio->heat, heat_after(word, offset, len));
	else if (heat_is_unused(word))
		folio_u32_store_relaxed(&folio->heat, HEAT_COLD);
	return false;
}

/* The same for a write, which starts no window: the mark stays for the reader that reaches it. */
static inline void heat_record_write(struct folio *folio, uint64_t offset, size_t len, bool once)
{
	uint32_t word = folio_u32_load_relaxed(&folio->heat);

	if (!once && heat_wants_touch(word) && (word & HEAT_MASK) != HEAT_MARK)
		folio_u32_store_relaxed(&folio->heat, heat_after(word, offset, len));
}

#endif
