/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.h - the slots of all threads for published pins, and the scan of them (core/publish.h).
 *
 * The slots belong to the process, not to a cache: the address of a descriptor is unique over all
 * caches. Each thread that pins gets a block of slots with its first pin, and gives it back when it
 * ends. Blocks are never freed, so a scan needs no lock; there are as many as threads have had one
 * at the same time. A slot may be in use when its thread ends, if the pin was handed over: the next
 * thread gets the block when all of them are free.
 */
#ifndef FOLIO_SRC_CACHE_PUBLISH_H
#define FOLIO_SRC_CACHE_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "core/pool.h"
#include "core/publish.h"

/* Pins that a thread can publish at a time: a cache line of slots. */
#define PUBLISH_SLOTS 8

struct publish_block {
	_Alignas(64) folio_ptr slot[PUBLISH_SLOTS]; /* atomic; stored by the owner of the pin */
	/* Set when the block is made. */
	_Alignas(64) struct publish_block *next;
	/* Atomic, stored under the lock of the blocks. */
	folio_u32 thread; /* gettid(2) of the owner; 0: no thread has it */
};

/* What the calling thread needs for a pin. */
struct publish_thread {
	struct publish_block *block; /* NULL: none yet, or none any more */
	bool fence;                  /* the freezers have no membarrier */
};

extern _Thread_local struct publish_thread publish_mine __attribute__((tls_model("initial-exec")));

/* A slot of the calling thread that is free, or NULL. */
static inline folio_ptr *publish_slot(void)
{
	struct publish_block *block = publish_mine.block;
	unsigned i;

	if (unlikely(!block))
		return NULL;
	for (i = 0; i < PUBLISH_SLOTS; i++)
		if (likely(slot_is_free(&block->slot[i])))
			return &block->slot[i];
	return NULL;
}

/*
 * The same, and gives the thread a block if it has none. NULL: no slot is free, there is no memory
 * for a block, or the thread is ending. The caller has entered a cache (cache/thread.h).
 */
folio_ptr *publish_slot_attach(void);

/* The calling thread ends; or, in a child of fork, all other threads have. For cache/thread.c. */
void publish_thread_ended(void);
void publish_forking(void);
void publish_forked(bool child);

/* True if any thread has ever had a slot. A hint: it may become true at any time. */
bool publish_in_use(void);

/* The folios that a scan has found in slots: a filter of what must be compared exactly. */
struct publish_set {
	bool any;         /* else bit is not set up */
	bool unknown;     /* the kernel has refused the barrier: any folio may be published */
	uint64_t bit[64]; /* by the number of the page frame */
};

/*
 * H4 for a batch of folios of @pool that the caller holds, or has erased. @barrier: after H3; not
 * needed if an earlier scan for the same folios had one, or if their pins come before this call in
 * the program's own order. If no thread has ever pinned by publication, costs a fence.
 *
 * Should the kernel refuse the barrier after it had promised it, the set has every folio: none is
 * taken.
 */
void publish_scan(const struct pool *pool, bool barrier, struct publish_set *set);

/* Looks at all slots once more, for one folio. */
uint32_t publish_count(const struct folio *folio);

/* Has the scan found @folio, and does a second look? */
static inline bool publish_has(
	const struct publish_set *set, const struct pool *pool, const struct folio *folio)
{
	uint32_t page = pool_page(pool, folio) % (64 * 64);

	if (unlikely(set->unknown))
		return true;
	if (likely(!set->any) || !(set->bit[page / 64] >> page % 64 & 1))
		return false;
	return publish_count(folio) > 0;
}

/* The first block, for those that list the pins; then block->next. NULL: the end. */
struct publish_block *publish_blocks(void);

#endif
