/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock.h - change pages in place: lock, change the memory, mark dirty, unlock.
 *
 *	folio_file_get_page(file, index, 0, &folio, &page);
 *	folio_lock(folio);
 *	memcpy(page, ...);
 *	folio_mark_dirty(folio, sequence);
 *	folio_unlock(folio);
 *	folio_put(folio);
 *
 * Lock, dirty state and write-back are those of the folio. folio_file_get_page through a handle
 * that was opened with O_RDWR gives the page a folio of its own: it splits a larger one, unless
 * another thread has that pinned, or it is dirty or being written. Then, as with a folio pinned by
 * folio_file_pin or through a handle for reading, all of the folio's pages are locked and written.
 *
 * Readers. One that copies (folio_file_read), or that reads in place and asks whether what it read
 * is valid (peek.h), never gets half of a change: the page is for it as it was before folio_lock or
 * as it is at folio_unlock. A thread that has the page pinned sees each byte change.
 *
 * Order. A thread may have any number of pages locked. It waits for locks in ascending order: of
 * the number of the file (folio_file_number), and within a file of the index. Out of that order it
 * uses folio_try_lock. So threads that lock pages never wait for each other in a circle. Locks are
 * released in any order, all of them before the thread ends.
 *
 * While a thread has a page locked, no call of the thread on the page's cache waits for the lock of
 * a folio, except folio_lock. Calls that write, sync, truncate (also by O_TRUNC) or close return
 * -EDEADLK, and so does a read by copy of a page that is locked, by this thread or another one.
 * Calls that get, pin, prefetch and read other pages work. before_writeback must not wait for the
 * lock of a page, nor a thread that has one in folio_queue_reap: a request may need that page.
 */
#ifndef FOLIO_LOCK_H
#define FOLIO_LOCK_H

#include <errno.h>

#include <folio/file.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * folio_file_number - the number of a file in the order of opening
 * @file: an open file.
 *
 * A file gets its number when its first handle is opened, and has it until the last one is closed.
 * It is larger than the numbers of all files of the process that were opened before. See
 * folio_lock.
 *
 * Returns the number; 0 if @file is NULL.
 */
uint64_t folio_file_number(const struct folio_file *file);

/**
 * folio_lock - lock a pinned folio of a file, to change its memory
 * @folio: pinned by the caller, which keeps the file open until folio_unlock.
 *
 * Waits for the thread that has it locked and for a write-back of the folio to end, unless a copy
 * of it is written: data being written does not change. Until folio_unlock, readers that copy
 * wait, and threads that have the folio pinned see it change.
 *
 * If the thread has no page locked yet, the call also waits as folio_file_write does while the file
 * has its share of dirty_bytes: a thread that has a lock never waits for other pages to be written.
 * What it locks and marks until it has no lock may exceed the limit, and no more does. The caller
 * holds nothing that before_writeback waits for.
 *
 * The lock belongs to the thread, which may have others, and waits for them in ascending order of
 * (folio_file_number, index); see the top of folio/lock.h. A folio of several pages may be locked
 * as often as it has pages, as if each had a folio of its own, and is unlocked as often.
 *
 * Returns 0; -ENODATA if the page is no longer in its file (truncated or invalidated); -EINVAL
 * for a folio of folio_alloc; -EDEADLK if it does not come after all pages that the thread has
 * locked, or is one of them; -ENOMEM if there is no memory for a list of more than four locks;
 * -ESTALE after fork; -ETIMEDOUT; or an error of write-back, if the file has its share of
 * dirty_bytes and the backend cannot write. With FOLIO_REF_DEBUG, -EINVAL and -EDEADLK are also
 * reported with file and line, as misuse of a reference is (ref.h).
 */
int folio_lock(struct folio *folio);

/**
 * folio_try_lock - lock a pinned folio of a file, if that needs no wait
 * @folio: pinned by the caller, which keeps the file open until folio_unlock.
 *
 * Like folio_lock, in any order. For a page that comes before one that the thread has locked. If it
 * fails, the thread unlocks its pages and locks them again in ascending order.
 *
 * Returns 0; -EAGAIN if the folio is locked or being written back, or if folio_lock would wait for
 * dirty pages to be written; -EDEADLK if the thread has it locked; otherwise as folio_lock.
 */
int folio_try_lock(struct folio *folio);

/**
 * folio_mark_dirty - record that a locked folio was changed and must be written back
 * @folio: locked by the calling thread.
 * @sequence: position of the change in the engine's log, or 0; before the folio is written back,
 *            folio_cache_params.before_writeback has returned 0 for this number or a larger one.
 *
 * Bytes past the end of the file are not written.
 *
 * Returns 0; -ENODATA if the page is no longer in its file; -EBADF if no handle has the file open
 * with O_RDWR; -ENOSPC or -EFBIG if the file can never take the page (folio_file_write); -EINVAL
 * if the thread has not locked the folio (reported as by folio_lock); -ESTALE after fork. After
 * an error the change stays in memory only, until the page leaves the cache.
 */
int folio_mark_dirty(struct folio *folio, uint64_t sequence);

/**
 * folio_unlock - unlock a folio that folio_lock or folio_try_lock locked
 * @folio: locked by the calling thread, which keeps its pin.
 *
 * If the thread has locked a folio of several pages more than once, the last call unlocks it.
 *
 * Returns 0; or, with nothing changed, -EINVAL if the thread has not locked the folio (reported
 * as by folio_lock), -ESTALE after fork.
 */
int folio_unlock(struct folio *folio);

/* With FOLIO_REF_DEBUG, misuse of the lock is reported with the line of the call (ref-debug.h). */
#if defined(FOLIO_REF_AT_PARAMETERS_) && !defined(FOLIO_LIBRARY)
static inline int folio_locked_at_(struct folio *folio, int r, struct folio_place_ place)
{
	if (r == 0)
		folio_ref_note_(&folio->ref, FOLIO_REF_OP_LOCK, 1,
			folio_u32_load_relaxed(&folio->ref.word), place.file, place.line);
	else if (r == -EDEADLK)
		folio_ref_on_misuse(&folio->ref,
			"lock by a thread that has it, or a later one, locked", place.file,
			place.line);
	else if (r == -EINVAL && folio)
		folio_ref_on_misuse(&folio->ref, "lock of a folio that is no page of a file",
			place.file, place.line);
	return r;
}

static inline int folio_lock_at_(struct folio *folio, struct folio_place_ place)
{
	return folio_locked_at_(folio, folio_lock(folio), place);
}

static inline int folio_try_lock_at_(struct folio *folio, struct folio_place_ place)
{
	return folio_locked_at_(folio, folio_try_lock(folio), place);
}

static inline int folio_mark_dirty_at_(
	struct folio *folio, uint64_t sequence, struct folio_place_ place)
{
	int r = folio_mark_dirty(folio, sequence);

	if (r == -EINVAL && folio)
		folio_ref_on_misuse(&folio->ref, "marked dirty by a thread without its lock",
			place.file, place.line);
	return r;
}

static inline int folio_unlock_at_(struct folio *folio, struct folio_place_ place)
{
	int r = folio_unlock(folio);

	if (r == 0)
		folio_ref_note_(&folio->ref, FOLIO_REF_OP_UNLOCK, 1,
			folio_u32_load_relaxed(&folio->ref.word), place.file, place.line);
	else if (r == -EINVAL && folio)
		folio_ref_on_misuse(
			&folio->ref, "unlock by a thread without its lock", place.file, place.line);
	return r;
}

#define folio_lock(folio)                 folio_lock_at_(folio, FOLIO_HERE_)
#define folio_try_lock(folio)             folio_try_lock_at_(folio, FOLIO_HERE_)
#define folio_mark_dirty(folio, sequence) folio_mark_dirty_at_(folio, sequence, FOLIO_HERE_)
#define folio_unlock(folio)               folio_unlock_at_(folio, FOLIO_HERE_)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
