/* SPDX-License-Identifier: BSD-2-Clause */
/* progress.c - count the activities that hold transient references, and wait for them. */
#include "core/progress.h"

#include <errno.h>
#include <limits.h>

#include "base/compiler.h"
#include "base/deadline.h"
#include "base/futex.h"

void progress_init(struct progress *progress)
{
	folio_u32_store_relaxed(&progress->busy, 0);
	folio_u32_store_relaxed(&progress->holders, 0);
	folio_u32_store_relaxed(&progress->released, 0);
	folio_u32_store_relaxed(&progress->ended, 0);
	folio_u32_store_relaxed(&progress->event, 0);
	folio_u32_store_relaxed(&progress->waiters, 0);
	progress->patience_ms = PROGRESS_PATIENCE_MS;
}

bool progress_put(struct folio *folio)
{
	/* While the reference is held: the type does not change, and erase may clear the owner. */
	bool in_file = folio->type == FOLIO_TYPE_FILE && folio_ptr_load_relaxed(&folio->owner);
	uint32_t count;

	folio_put(folio);
	/*
	 * The descriptor may be in another use by now; then some thread has had the folio released.
	 * Of several holders, the one whose put comes last finds what it left, or less.
	 */
	count = folio_ref_count(&folio->ref);
	/*
	 * acquire: pairs with the fence of progress_hold. If another holder is seen, it is counted
	 * before the caller is no longer.
	 */
	folio_fence_acquire();
	return count == 0 || (count == 1 && in_file);
}

/* @kind: busy or holders. */
static void leave(struct progress *progress, folio_u32 *kind)
{
	/*
	 * release: pairs with the acquire loads of busy and holders in progress_wait and
	 * progress_expected. A thread that sees the smaller count also sees released incremented.
	 */
	folio_u32_fetch_sub_release(kind, 1);
	/*
	 * seq_cst: pairs with the fence in progress_wait. Either the waiter sees the smaller count,
	 * or this thread sees the waiter. Without the fences each could miss the other, and the
	 * waiter would sleep with no wake-up to come.
	 */
	folio_fence_seq_cst();
	if (unlikely(folio_u32_load_relaxed(&progress->waiters))) {
		folio_u32_fetch_add_release(&progress->event, 1);
		futex_wake(&progress->event, INT_MAX);
	}
}

void progress_end(struct progress *progress, bool freed)
{
	if (freed)
		folio_u32_fetch_add_release(&progress->released, 1);
	/*
	 * release: pairs with the acquire load in progress_wait. A thread that counts this end also
	 * sees released incremented, and holders if the caller is one of them by now. Before the
	 * decrement of busy, so that each end is found in one of the two.
	 */
	folio_u32_fetch_add_release(&progress->ended, 1);
	leave(progress, &progress->busy);
}

void progress_unhold(struct progress *progress, bool freed)
{
	if (freed)
		folio_u32_fetch_add_release(&progress->released, 1);
	leave(progress, &progress->holders);
}

/* How long one caller of progress_wait waits for one kind of activities. */
struct patience {
	struct timespec until; /* zero: it has not waited for the kind */
	bool over;
};

/* Sleep until an activity ends. False if @until has passed, the deadline of the caller. */
static bool sleep_once(struct progress *progress, uint32_t event, struct patience *patience,
	const struct timespec *until)
{
	const struct timespec *limit = until;

	if (!patience->over) {
		if (!patience->until.tv_sec)
			patience->until = deadline_in(progress->patience_ms);
		limit = deadline_first(&patience->until, until);
	}
	if (futex_wait_until(&progress->event, event, limit))
		return true;
	patience->over = patience->over || limit != until;
	return limit != until;
}

int progress_wait(struct progress *progress, uint32_t seen, const struct timespec *until)
{
	struct patience for_busy = {.over = false}, for_holders = {.over = false};
	bool up = deadline_passed(until);
	uint32_t event, busy, ended, holders, last = 0;

	folio_u32_fetch_add_relaxed(&progress->waiters, 1);
	/* seq_cst: pairs with the fence in leave. */
	folio_fence_seq_cst();
	for (;;) {
		event = folio_u32_load_acquire(&progress->event);
		/*
		 * acquire: pairs with progress_end and leave. Load busy and ended before holders: a
		 * thread that changes from busy to holder is counted there first. Load all of them
		 * before released: an end increments released first, so if it is found in one of
		 * them, the count below has it.
		 */
		busy = folio_u32_load_acquire(&progress->busy);
		ended = folio_u32_load_acquire(&progress->ended);
		holders = folio_u32_load_acquire(&progress->holders);
		if (folio_u32_load_acquire(&progress->released) != seen || up)
			break;
		/*
		 * The number of ends after which the activities that were busy at first may all
		 * have ended. busy is loaded before: an end in between makes it larger.
		 */
		if (!for_busy.until.tv_sec)
			last = ended + busy;
		if (for_busy.over && (int32_t)(ended - last) >= 0)
			busy = 0;
		if (!busy && (!holders || for_holders.over))
			break;
		up = !sleep_once(progress, event, busy ? &for_busy : &for_holders, until);
	}
	folio_u32_fetch_sub_relaxed(&progress->waiters, 1);
	if (up)
		return -ETIMEDOUT;
	return folio_u32_load_relaxed(&progress->released) != seen ? 0 : -ENOMEM;
}

void progress_drain(struct progress *progress)
{
	while (folio_u32_load_acquire(&progress->busy))
		progress_wait(progress, progress_seen(progress), NULL);
}
