/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lookup.c - finding a cached page.
 *
 * The protocol of a look-up by pin, against threads that take a folio out of the tree. No thread
 * waits for another.
 *
 *      look-up                                  erase (evict, invalidate, a failed fill)
 *   1  load the slot              acquire    A  freeze (evict); the others do not: a pinned
 *                                               folio may leave
 *   2  try_get                    acquire    B  erase the slot, under the tree lock
 *   3  load the slot again: the same entry?  C  put the tree's reference, or return the
 *                                               frozen folio
 *   4  no: put, which may make it the
 *      releaser; begin again
 *
 * 2 fails            The folio is frozen: it is leaving. Begin again: the slot changes, or the
 *                    freezer unfreezes the folio.
 * 2 before A         A fails: the folio stays.
 * 2 between B and C  3 sees B. The count that 2 read was written, or passed on, by put (release)
 *                    or by unfreeze (release) after B, and 2 is an acquire.
 * 2 after C          One of three cases. 2 fails. Or 2 raised the count before the put of C could
 *                    freeze it, so the look-up has the last reference: 3 sees B, as above, and the
 *                    look-up's put releases the folio. Or the frame is in use again, and 2 got a
 *                    reference of that use: 3 sees B, too, unless the new use is in this very
 *                    slot. Then it is the requested page.
 *
 * Step 3 also checks that the slot is still one of the tree's (tree_still, core/walk.h).
 *
 * So if 3 succeeds, the folio holds this page at that moment, and its frame is put to no other use
 * before the look-up's reference is put. All other threads pay a price: at any time, the count of
 * any descriptor may be one higher for a moment. A freeze then fails, and is tried again later.
 *
 * core/version.h has the protocol of a look-up by copy. Its second load of the slot is between the
 * two loads of the version.
 *
 * The hits of short reads (hit.h) and of pins (pin_begin, pin_holds in lookup.h) are the same
 * protocols, with one attempt. A pinned hit then examines the version: if it is even, the folio is
 * up to date. If a thread is changing it, the pin is put, and the program waits (demand.c).
 */
#include "read/lookup.h"

#include <errno.h>

#include "base/pause.h"
#include "core/heat.h"
#include "read/copy.h"

/* What a look-up by copy has found. After the copy, the version is compared with this one. */
struct snapshot {
	struct folio *folio;
	folio_u64 *version;
	uint64_t seen;    /* the version's value */
	const char *data; /* of the requested byte */
	size_t left;      /* valid bytes from there on */
};

/*
 * Steps 1 to 3 of core/version.h: find the folio at @offset and the address of its bytes. Returns
 * false if the page is not cached or not up to date, or if the file ends before it. Takes no
 * reference and writes nothing shared.
 *
 * The size is loaded between the two loads of the slot.
 * If the file has shrunk, inode_revalidate stores the smaller size, then drops the pages. Only
 * after that can a fill store a page with zeros in place of the lost bytes. So a reader that finds
 * such a page sees the smaller size.
 * If the file has grown, inode_revalidate drops the page that ends in zeros, then stores the larger
 * size. So a reader that sees the larger size no longer finds that page.
 */
static inline __attribute__((always_inline)) bool snapshot_take(
	struct folio_file *file, uint64_t offset, struct snapshot *seen)
{
	struct tree *tree = &file->inode->tree;
	struct tree_place place;
	uint64_t file_size, end, valid;
	size_t in_folio;
	void *entry;

	entry = tree_walk(tree, offset >> FOLIO_PAGE_SHIFT, &place);
	if (unlikely(!entry_is_folio(entry)))
		return false;
	seen->folio = entry_folio(entry);
	seen->version = entry_version(file, entry);
	FOLIO_PAUSE(copy_before_version, seen->folio);
	if (unlikely(!version_read_begin(seen->version, &seen->seen)))
		return false;
	/* acquire: pairs with the stores of size (release) in inode_revalidate. */
	file_size = folio_u64_load_acquire(&file->inode->size);
	FOLIO_PAUSE(copy_before_slot, seen->folio);
	if (unlikely(!tree_still(tree, &place, entry)))
		return false;
	FOLIO_PAUSE(copy_before_copy, seen->folio);
	valid = entry_bytes(entry);
	in_folio = offset & (valid - 1);
	seen->data = entry_data(file, entry) + in_folio;
	if (unlikely(seen->seen & VERSION_PARTIAL))
		valid = folio_u32_load_relaxed(&seen->folio->valid);
	end = valid_end(offset - in_folio, valid, file_size);
	if (unlikely(offset >= end))
		return false;
	seen->left = end - offset;
	return true;
}

ssize_t copy_cached(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, bool once, bool *marked)
{
	struct snapshot seen;

	if (!snapshot_take(file, offset, &seen))
		return 0;
	if (len > seen.left)
		len = seen.left;
	copy_out(buf, seen.data, len);
	if (unlikely(!version_read_valid(seen.version, seen.seen)))
		return -1;
	*marked = unlikely(seen.seen & VERSION_TOUCH) &&
		  heat_record(&file->cache->pool, seen.folio, offset, len, once);
	return (ssize_t)len;
}

#define LOOKUP_SPIN 16

/*
 * One attempt of lookup_pin with the tree's lock. The freezer of a folio holds it until it has
 * changed the slot: if it has lost its CPU, it is better to sleep on that lock than to spin. A
 * folio that refuses while this thread holds the lock is not frozen: it has as many references as
 * the counter allows.
 */
static struct folio *pin_locked(struct inode *inode, uint64_t index, bool *refused)
{
	struct progress *progress = &inode->cache->progress;
	struct folio *folio = NULL;
	void *entry;

	progress_hold(progress);
	tree_lock(&inode->tree);
	entry = tree_load(&inode->tree, index);
	if (entry_is_folio(entry)) {
		*refused = !folio_ref_try_get(&entry_folio(entry)->ref);
		if (!*refused)
			folio = entry_folio(entry);
	}
	tree_unlock(&inode->tree);
	if (!folio)
		progress_unhold(progress, false);
	return folio;
}

struct folio *lookup_pin(
	struct inode *inode, uint64_t index, bool *refused, struct stats_shard *shard)
{
	struct progress *progress = &inode->cache->progress;
	struct tree *tree = &inode->tree;
	struct tree_place place;
	unsigned failed = 0;
	struct folio *folio;
	void *entry;

	for (;;) {
		entry = tree_walk(tree, index, &place);
		if (!entry_is_folio(entry))
			return NULL;
		progress_hold(progress);
		folio = entry_folio(entry);
		FOLIO_PAUSE(pin_before_get, folio);
		if (likely(folio_ref_try_get(&folio->ref))) {
			FOLIO_PAUSE(pin_before_slot, folio);
			if (likely(tree_still(tree, &place, entry)))
				return folio;
			progress_unhold(progress, progress_put(folio));
		} else {
			progress_unhold(progress, false);
		}
		stats_add(shard, STAT_RETRIES, 1);
		if (unlikely(++failed % LOOKUP_SPIN == 0)) {
			folio = pin_locked(inode, index, refused);
			if (folio || *refused)
				return folio;
		}
	}
}

struct folio *lookup_find(
	struct folio_file *file, uint64_t index, struct stats_shard *shard, int *error)
{
	bool refused = false;
	struct folio *folio;

	folio = lookup_pin(file->inode, index, &refused, shard);
	*error = refused ? -EOVERFLOW : 0;
	return folio;
}

struct folio *lookup_find_locked(struct inode *inode, uint64_t index)
{
	bool refused;

	return pin_locked(inode, index, &refused);
}

struct folio *lookup_ready(struct folio_file *file, uint64_t index, struct stats_shard *shard)
{
	struct pin_try pin;
	struct folio *folio = pin_begin(file, index, &pin, true);

	if (unlikely(!folio))
		return NULL;
	if (likely(pin_holds(file, folio, index, &pin))) {
		stats_add(shard, STAT_HITS, 1);
		return folio;
	}
	folio_put(folio);
	return NULL;
}
