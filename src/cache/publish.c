/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.c - the blocks of slots, and the barrier and the scan of the freezers.
 *
 * Until the first thread gets a block, no pin is published and no freezer issues a membarrier. The
 * change is a protocol of its own, for freezers that have begun before it:
 *
 *      thread that gets a block                     freezer
 *   a  in_use = 1           relaxed             H2  HELD, or D1 erase
 *   b  fence                seq_cst             c   fence                 seq_cst
 *      S1 of its first pin                      d   load in_use           relaxed; 0: no scan
 *
 *   b with c   Either d sees in_use, and the freezer goes on to the membarrier and the scan. Or S1
 *              and S5 see HELD, or that the entry is gone.
 *
 * Every thread that gets a block executes b: that another thread had stored in_use before does not
 * order this thread's loads after the freezer's stores.
 */
#include "cache/publish.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/pause.h"
#include "cache/thread.h"

enum { UNUSED, BY_MEMBARRIER, BY_FENCE };

_Thread_local struct publish_thread publish_mine;

/* Guards the lists' stores and in_use; no lock is taken under it. */
static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER;
static folio_ptr blocks; /* atomic: the first */
static folio_u32 in_use; /* atomic */

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

/* Register the process. Where that fails, pins have a full fence instead. The lock is held. */
static void start_locked(void)
{
	bool registered = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;

	folio_u32_store_relaxed(&in_use, registered ? BY_MEMBARRIER : BY_FENCE);
}

bool publish_in_use(void)
{
	return folio_u32_load_relaxed(&in_use) != UNUSED;
}

struct publish_block *publish_blocks(void)
{
	/* acquire: pairs with block_take_locked; the block is set up before it is found. */
	return folio_ptr_load_acquire(&blocks);
}

/* True if no pin is left of the thread that had the block. */
static bool block_is_free(struct publish_block *block)
{
	unsigned i;

	for (i = 0; i < PUBLISH_SLOTS; i++)
		if (!slot_is_free(&block->slot[i]))
			return false;
	return true;
}

/* A block that no thread uses, or a new one; NULL: no memory. The lock is held. */
static struct publish_block *block_take_locked(void)
{
	struct publish_block *block;

	for (block = publish_blocks(); block; block = block->next)
		if (!folio_u32_load_relaxed(&block->thread) && block_is_free(block))
			return block;
	block = aligned_alloc(64, sizeof(*block));
	if (!block)
		return NULL;
	memset(block, 0, sizeof(*block));
	block->next = folio_ptr_load_relaxed(&blocks);
	/* release: pairs with publish_blocks. */
	folio_ptr_store_release(&blocks, block);
	return block;
}

folio_ptr *publish_slot_attach(void)
{
	struct publish_block *block;

	if (!publish_mine.block && thread_will_end()) {
		pthread_mutex_lock(&blocks_lock);
		block = block_take_locked();
		if (block) {
			folio_u32_store_relaxed(&block->thread, (uint32_t)gettid());
			if (!publish_in_use())
				start_locked();
			publish_mine.block = block;
			publish_mine.fence = folio_u32_load_relaxed(&in_use) == BY_FENCE;
		}
		pthread_mutex_unlock(&blocks_lock);
		publish_enter();
	}
	return publish_slot();
}

void publish_thread_ended(void)
{
	if (!publish_mine.block)
		return;
	pthread_mutex_lock(&blocks_lock);
	folio_u32_store_relaxed(&publish_mine.block->thread, 0);
	pthread_mutex_unlock(&blocks_lock);
	publish_mine.block = NULL;
}

void publish_forking(void)
{
	pthread_mutex_lock(&blocks_lock);
}

/*
 * The child has the blocks of its parent. Pins that it has inherited stay in their slots until it
 * unpins them; they are of caches that it does not own. A process registers for itself.
 */
void publish_forked(bool child)
{
	struct publish_block *block;

	if (child && publish_in_use()) {
		for (block = publish_blocks(); block; block = block->next)
			folio_u32_store_relaxed(&block->thread,
				block == publish_mine.block ? (uint32_t)gettid() : 0);
		start_locked();
		publish_mine.fence = folio_u32_load_relaxed(&in_use) == BY_FENCE;
	}
	pthread_mutex_unlock(&blocks_lock);
}

/* H3. Returns false if the kernel refuses. */
static bool barrier_heavy(void)
{
	return folio_u32_load_relaxed(&in_use) == BY_FENCE ||
	       membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}

void publish_scan(const struct pool *pool, bool barrier, struct publish_set *set)
{
	struct publish_block *block;
	unsigned i;

	set->any = set->unknown = false;
	if (likely(publish_used(&in_use) == UNUSED))
		return;
	set->unknown = barrier && !barrier_heavy();
	FOLIO_PAUSE(publish_barrier, NULL);
	for (block = publish_blocks(); block; block = block->next) {
		for (i = 0; i < PUBLISH_SLOTS; i++) {
			/* acquire: as slot_has. */
			const struct folio *folio = folio_ptr_load_acquire(&block->slot[i]);
			uint32_t page;

			if (!folio || !pool_has(pool, folio))
				continue;
			if (!set->any)
				memset(set->bit, 0, sizeof(set->bit));
			set->any = true;
			page = pool_page(pool, folio) % (64 * 64);
			set->bit[page / 64] |= UINT64_C(1) << page % 64;
		}
	}
	FOLIO_PAUSE(publish_scanned, NULL);
}

uint32_t publish_count(const struct folio *folio)
{
	struct publish_block *block;
	uint32_t count = 0;
	unsigned i;

	for (block = publish_blocks(); block; block = block->next)
		for (i = 0; i < PUBLISH_SLOTS; i++)
			count += slot_has(&block->slot[i], folio);
	return count;
}
