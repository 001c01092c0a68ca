/* SPDX-License-Identifier: BSD-2-Clause */
/* revalidate.c - comparing what is cached with the size and times of change of a file. */
#include "cache/revalidate.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/pause.h"
#include "cache/drop.h"
#include "cache/identity.h"

#define NSEC_PER_SEC 1000000000

/*
 * How coarse the times of a file are, by one of them: as its zeros show. File systems store
 * nanoseconds, a round number of them, seconds, or (FAT) every second second.
 */
static int64_t unit_of(uint32_t nsec)
{
	uint32_t unit = 1;

	if (!nsec)
		return INT64_C(2) * NSEC_PER_SEC;
	while (nsec % (10 * unit) == 0)
		unit *= 10;
	return unit;
}

bool revalidate_is_recent(
	const struct folio_io_attr *attr, const struct timespec *now, const struct timespec *tick)
{
	int64_t unit = unit_of(attr->ctime_nsec);
	int64_t age = (int64_t)((uint64_t)now->tv_sec - (uint64_t)attr->ctime_sec);

	if (!(attr->fields & FOLIO_IO_ATTR_CTIME))
		return false;
	if (unit < tick->tv_nsec)
		unit = tick->tv_nsec;
	/* Far apart: a product could overflow. */
	if (age > 3 || age < -3)
		return age < 0;
	return age * NSEC_PER_SEC + now->tv_nsec - attr->ctime_nsec <= unit;
}

int revalidate_attr(struct folio_cache *cache, void *handle, uint32_t wanted,
	struct folio_io_attr *attr, bool *recent)
{
	struct timespec now, tick;
	int r;

	clock_getres(CLOCK_REALTIME_COARSE, &tick);
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	r = identity_attr(cache, handle, wanted, attr);
	*recent = !r && revalidate_is_recent(attr, &now, &tick);
	return r;
}

void revalidate_record(struct inode *inode, const struct folio_io_attr *attr, bool recent)
{
	inode->attr_size = attr->size;
	inode->attr_mtime_sec = attr->mtime_sec;
	inode->attr_mtime_nsec = attr->mtime_nsec;
	inode->attr_ctime_sec = attr->ctime_sec;
	inode->attr_ctime_nsec = attr->ctime_nsec;
	inode->attr_recent = recent;
}

bool revalidate_differs(const struct inode *inode, const struct folio_io_attr *attr)
{
	return attr->size != inode->attr_size || attr->mtime_sec != inode->attr_mtime_sec ||
	       attr->mtime_nsec != inode->attr_mtime_nsec ||
	       attr->ctime_sec != inode->attr_ctime_sec ||
	       attr->ctime_nsec != inode->attr_ctime_nsec;
}

static bool has_pages(struct inode *inode)
{
	bool some;

	tree_lock(&inode->tree);
	some = folio_u64_load_relaxed(&inode->pages) != 0;
	tree_unlock(&inode->tree);
	return some;
}

/*
 * Drop the old last page again, after the new size was stored: since the first drop, it may have
 * been filled according to the old size. A filler that loaded the old size had stored its entry in
 * the tree before, so this drop finds the entry. (It loads the size at the end of the fill, see
 * fill_finish; a later fill loads the new size.)
 */
static void drop_old_tail(struct inode *inode, struct stats_shard *shard)
{
	uint64_t index = inode->attr_size >> FOLIO_PAGE_SHIFT;

	inode_invalidate(inode, index, index, shard);
}

static int revalidate(
	struct inode *inode, bool growth_only, uint32_t wanted, struct stats_shard *shard)
{
	struct folio_cache *cache = inode->cache;
	struct folio_io_attr attr;
	bool changed, recent;
	int r;

	pthread_mutex_lock(&inode->attr_lock);
	/*
	 * The cache owns a file that is open for writing: its size is newer than the system's.
	 * relaxed: set under attr_lock.
	 */
	if (folio_ptr_load_relaxed(&inode->write_handle)) {
		pthread_mutex_unlock(&inode->attr_lock);
		return 0;
	}
	r = revalidate_attr(cache, inode->handle, wanted, &attr, &recent);
	if (r < 0) {
		pthread_mutex_unlock(&inode->attr_lock);
		return r;
	}
	changed = attr.size != inode->attr_size;
	if (changed && growth_only && attr.size > inode->attr_size) {
		/*
		 * The old last page has zeros past the old end. It is dropped before the new size
		 * is visible, with all pages past the end, which a fill that began before the file
		 * shrank may have stored. release: pairs with the acquire of a reader that loads
		 * the size before it looks a page up, or looks it up again.
		 */
		inode_invalidate(inode, inode->attr_size >> FOLIO_PAGE_SHIFT, UINT64_MAX, shard);
		FOLIO_PAUSE(drop_grown, NULL);
		folio_u64_store_release(&inode->size, attr.size);
		drop_old_tail(inode, shard);
		inode->attr_size = attr.size;
	} else if (!growth_only || attr.size < inode->attr_size) {
		changed = revalidate_differs(inode, &attr) ||
			  (inode->attr_recent && has_pages(inode));
		if (changed) {
			/*
			 * A smaller size is stored before the drop, so that no thread fills a page
			 * past the end; a larger one after it.
			 */
			if (attr.size < inode->attr_size)
				folio_u64_store_release(&inode->size, attr.size);
			FOLIO_PAUSE(drop_sized, NULL);
			inode_invalidate(inode, 0, UINT64_MAX, shard);
			folio_u64_store_release(&inode->size, attr.size);
			if (attr.size > inode->attr_size)
				drop_old_tail(inode, shard);
		}
		revalidate_record(inode, &attr, recent);
	}
	pthread_mutex_unlock(&inode->attr_lock);
	return changed;
}

int inode_revalidate(struct inode *inode, bool growth_only, struct stats_shard *shard)
{
	return revalidate(inode, growth_only, 0, shard);
}

int inode_revalidate_closed(struct inode *inode, struct stats_shard *shard)
{
	return revalidate(inode, false, FOLIO_IO_ATTR_FRESH, shard);
}
