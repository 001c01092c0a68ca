/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hot.c - saving which pages are hot, and requesting them again after a restart.
 *
 * Both calls go through the files one at a time, and hold files_lock for a bounded number of steps:
 * a save to collect some pages of one file, a load to look one file up in the table, once for each
 * device. Only a save's list of the files is made in one hold. In between, files are opened and
 * closed. An inode is found again by its address, which remains that of an inode, and by the file's
 * device and number. If it is another file with the same numbers by then, that costs useless reads
 * at most: the list is a hint.
 *
 * A load reads the list twice: hotfile_open checks all of it, and keeps nothing. If another program
 * changes the list in place in between, the second pass finds that, but may have started reads.
 */
#include <folio/hot.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/deadline.h"
#include "core/heat.h"
#include "core/hotfile.h"
#include "core/walk.h"
#include "cache/identity.h"
#include "cache/inflight.h"
#include "cache/inode.h"
#include "cache/size.h"
#include "evict/bounds.h"
#include "evict/limits.h"
#include "read/fill.h"
#include "read/gap.h"

/* A file of the cache. */
struct known {
	struct inode *inode;
	uint64_t device, number;
};

/* Does the cache still have the file? files_lock is held, here and below. */
static bool is_known(const struct known *known)
{
	const struct inode *inode = known->inode;

	return inode->device == known->device && inode->number == known->number &&
	       (inode->opens || inode->closed);
}

/* ---- save ---- */

#define SAVE_RANGES 256 /* that are collected in one hold of files_lock */
#define SAVE_LOOKS  512 /* folios that are examined in one hold of a tree's lock */
#define SAVE_HOLDS  32  /* of those in one of files_lock */

struct hot_ranges {
	struct page_range range[SAVE_RANGES];
	unsigned count;
	uint64_t next; /* page at which to continue */
	bool end;      /* the file has no more */
};

/* A hint, as all that eviction knows: the queues are not locked. */
static bool is_hot(const struct folio *folio)
{
	uint32_t heat = folio_u32_load_relaxed(&folio->heat) & HEAT_MASK;
	uint8_t queue = folio_u8_load_relaxed(&folio->queue);

	return queue == QUEUE_MAIN || queue == QUEUE_PARKED || heat == HEAT_WARM ||
	       heat == HEAT_HOT;
}

/* Collect hot pages in one hold of the tree's lock. Returns false if ranges is full, or at end. */
static bool collect_some(struct inode *inode, struct hot_ranges *ranges)
{
	unsigned looks;
	void *entry = NULL;

	tree_lock(&inode->tree);
	for (looks = 0; looks < SAVE_LOOKS && ranges->count < SAVE_RANGES; looks++) {
		struct page_range *last = &ranges->range[ranges->count ? ranges->count - 1 : 0];
		const struct folio *folio;

		entry = tree_next_locked(&inode->tree, &ranges->next, TREE_INDEX_MAX);
		if (!entry)
			break;
		folio = entry_folio(entry);
		ranges->next = folio_next_index(folio);
		if (!is_hot(folio))
			continue;
		if (ranges->count && last->end == folio->index)
			last->end = ranges->next;
		else
			ranges->range[ranges->count++] =
				(struct page_range){folio->index, ranges->next};
	}
	tree_unlock(&inode->tree);
	ranges->end = !entry;
	return entry && ranges->count < SAVE_RANGES;
}

/*
 * Collect the next hot pages of a file; with the first of them, what identifies it. Returns false
 * if the cache no longer has the file, or it cannot be identified.
 */
static bool collect(struct folio_cache *cache, const struct known *known, struct hot_ranges *ranges,
	struct folio_io_attr *attr)
{
	unsigned holds = 0;
	bool found;

	pthread_mutex_lock(&cache->files_lock);
	found = is_known(known);
	if (found && !ranges->next) {
		if (known->inode->closed)
			*attr = *known->inode->identity;
		else
			found = identity_attr(cache, known->inode->handle, IDENTITY_WANTED, attr) ==
				0;
	}
	ranges->count = 0;
	while (found && holds++ < SAVE_HOLDS && collect_some(known->inode, ranges))
		continue;
	pthread_mutex_unlock(&cache->files_lock);
	return found;
}

/* Returns the number of pages that were listed. */
static uint64_t save_file(
	struct hotfile_writer *writer, struct folio_cache *cache, const struct known *known)
{
	struct hot_ranges ranges = {.next = 0};
	struct folio_io_attr attr;
	bool begun = false;
	uint64_t pages = 0;
	unsigned i;

	while (!ranges.end && collect(cache, known, &ranges, &attr)) {
		if (ranges.count && !begun)
			hotfile_put_file(writer, &attr);
		begun = begun || ranges.count;
		for (i = 0; i < ranges.count; i++) {
			uint64_t first = ranges.range[i].first, end = ranges.range[i].end;

			hotfile_put_range(writer, first, end - first);
			pages += end - first;
		}
	}
	if (begun)
		hotfile_put_file_end(writer);
	return pages;
}

/* Store all files of the cache in an array, which the caller frees. 0 or -ENOMEM. */
static int list_files(struct folio_cache *cache, struct known **files, uint64_t *count)
{
	struct inode *inode;
	uint64_t at = 0;

	*count = 0;
	pthread_mutex_lock(&cache->files_lock);
	*files = malloc((cache->inodes.values + 1) * sizeof(**files));
	while (*files && (inode = hash_each(&cache->inodes, &at)))
		(*files)[(*count)++] = (struct known){inode, inode->device, inode->number};
	pthread_mutex_unlock(&cache->files_lock);
	return *files ? 0 : -ENOMEM;
}

ssize_t folio_cache_save_hot(struct folio_cache *cache, const char *path)
{
	struct hotfile_writer writer;
	uint64_t count, i, pages = 0;
	struct known *files;
	struct call call;
	int r;

	if (!cache || !path)
		return -EINVAL;
	r = call_begin(&call, cache, cache->id, false);
	if (!r)
		r = list_files(cache, &files, &count);
	if (r)
		return r;
	r = hotfile_create(&writer, path);
	if (!r) {
		for (i = 0; i < count; i++)
			pages += save_file(&writer, cache, &files[i]);
		r = hotfile_commit(&writer);
	}
	free(files);
	return r ? r : (ssize_t)pages;
}

/* ---- load ---- */

/* Ranges that are requested together, and pages of one: a close of their file waits for that. */
#define LOAD_RANGES FILL_BATCH
#define LOAD_PAGES  FILL_PAGES_MAX

struct loading {
	struct call *call;
	struct folio_hot_load load;
	uint64_t started; /* pages */
	int error;        /* -ETIMEDOUT */
	bool full;        /* there is no free memory left */
	bool file_full;   /* or the present file may not have more */
	/* The next parts of ranges. */
	struct page_range part[LOAD_RANGES];
	unsigned parts;
};

/* Is @now the file of which @saved was saved? Its size does not count, nor do its times. */
static bool is_same(const struct folio_io_attr *saved, struct folio_io_attr *now)
{
	int r;

	now->size = saved->size;
	r = identity_compare_attr(saved, now);
	return r == IDENTITY_SAME || (r == IDENTITY_DOUBT && saved->device == now->device);
}

/* Find the file among those that are open and have this device. files_lock is held. */
static bool find_on(struct folio_cache *cache, uint64_t device, const struct folio_io_attr *saved,
	struct known *known)
{
	struct folio_io_attr attr;
	struct inode *inode;
	uint64_t at = 0;

	while ((inode = inode_next(cache, device, saved->inode, &at)))
		if (inode->opens &&
			identity_attr(cache, inode->handle, IDENTITY_WANTED, &attr) == 0 &&
			is_same(saved, &attr))
			break;
	if (inode)
		*known = (struct known){inode, inode->device, inode->number};
	return inode;
}

/*
 * Find the file among those that are open, and how many pages it has. Its device may have another
 * number by now.
 */
static bool find_open(struct folio_cache *cache, const struct folio_io_attr *saved,
	struct known *known, uint64_t *pages)
{
	const struct writeback_device *device;
	bool found;

	pthread_mutex_lock(&cache->files_lock);
	found = find_on(cache, saved->device, saved, known);
	for (device = cache->writeback.devices; device && !found; device = device->next)
		found = device->number != saved->device &&
			find_on(cache, device->number, saved, known);
	if (found)
		*pages = size_pages(folio_u64_load_acquire(&known->inode->size));
	pthread_mutex_unlock(&cache->files_lock);
	return found;
}

/* With a deadline, no request is added without a free slot: wait for one. */
static bool await_slot(struct loading *loading, struct fill_batch *batch)
{
	struct call *call = loading->call;

	if (!call->until || loading->error)
		return false;
	/* The requests in the batch have slots, too. */
	fill_submit(batch);
	if (!slot_take(call->cache, true, call->until)) {
		loading->error = -ETIMEDOUT;
		return false;
	}
	slot_give(call->cache);
	return true;
}

/* Add the requests for one part of a range. The inode stays open. */
static void load_part(struct loading *loading, struct fill_batch *batch, struct inode *inode,
	struct page_range part)
{
	struct folio_cache *cache = inode->cache;
	uint64_t eof = size_pages(folio_u64_load_acquire(&inode->size));
	uint64_t pages = part.end - part.first, missing = 0, space, own, added = 0;
	bool waited;

	if (part.end > eof)
		part.end = eof;
	if (part.first < part.end)
		missing = gap_pages(inode, part);
	loading->load.pages_skipped += pages - missing;
	if (!missing)
		return;
	/* Only what is free: no page leaves the cache for one that may not be used. */
	space = evict_headroom(cache, UINT64_MAX, false);
	loading->full = loading->full || !space || tree_nodes_are_short(&cache->tree_budget);
	own = bounds_space(inode);
	if (space > own)
		space = own;
	loading->file_full = loading->file_full || loading->full || !space;
	if (!loading->file_full && space < part.end - part.first)
		part.end = part.first + space;
	/* If memory is short, nothing is added although there was a slot. */
	for (waited = false; !loading->file_full; waited = true) {
		uint64_t more = fill_add(batch, inode, part, FILL_NO_MARK, HEAT_HOT);

		added += more;
		if (!gap_pages(inode, part) || (waited && !more) || !await_slot(loading, batch))
			break;
	}
	loading->started += added;
	loading->load.pages_left += missing - (added < missing ? added : missing);
}

/* Request the parts that have been collected, if the file is still open. */
static void load_parts(struct loading *loading, const struct known *known)
{
	struct fill_batch batch = {.call = loading->call};
	struct folio_cache *cache = loading->call->cache;
	bool open;
	unsigned i;

	pthread_mutex_lock(&cache->files_lock);
	open = is_known(known) && known->inode->opens;
	/* The last close waits for it as for a request (is_settled in api/open.c). */
	if (open)
		inflight_begin(known->inode);
	pthread_mutex_unlock(&cache->files_lock);
	for (i = 0; i < loading->parts && !loading->error; i++) {
		if (deadline_passed(loading->call->until))
			loading->error = -ETIMEDOUT;
		else if (open)
			load_part(loading, &batch, known->inode, loading->part[i]);
		else
			loading->load.pages_missing +=
				loading->part[i].end - loading->part[i].first;
	}
	fill_submit(&batch);
	if (open)
		inflight_end(known->inode);
	loading->parts = 0;
}

/*
 * Request the pages of a range, in parts. A list may have any range: a part is what there can be
 * memory for, or all that is left when there is none.
 */
static void load_range(
	struct loading *loading, const struct known *known, uint64_t first, uint64_t end)
{
	while (first < end && !loading->error) {
		uint64_t n = end - first;

		if (n > LOAD_PAGES && !loading->file_full)
			n = LOAD_PAGES;
		loading->part[loading->parts++] = (struct page_range){first, first + n};
		if (loading->parts == LOAD_RANGES)
			load_parts(loading, known);
		first += n;
	}
}

/*
 * Take the ranges of the next file, and request them if @known is not NULL: then the file has
 * @size pages. 0 or -errno.
 */
static int load_file(
	struct loading *loading, struct hotfile *file, const struct known *known, uint64_t size)
{
	uint64_t first, pages;
	int r = 0;

	loading->file_full = loading->full;
	while (!loading->error && (r = hotfile_next_range(file, &first, &pages)) > 0) {
		uint64_t has = first < size ? size - first : 0;

		if (has > pages)
			has = pages;
		if (known) {
			loading->load.pages_skipped += pages - has;
			load_range(loading, known, first, first + has);
		} else {
			loading->load.pages_missing += pages;
		}
	}
	if (loading->parts)
		load_parts(loading, known);
	return loading->error ? loading->error : r;
}

ssize_t folio_cache_load_hot(
	struct folio_cache *cache, const char *path, struct folio_hot_load *load)
{
	struct call call;
	struct loading loading = {.call = &call};
	struct folio_io_attr saved;
	struct hotfile file;
	int r;

	if (!cache || !path || (load && load->size < sizeof(load->size)))
		return -EINVAL;
	r = call_begin(&call, cache, cache->id, false);
	if (!r)
		r = hotfile_open(&file, path);
	if (r)
		return r;
	while (!r && (r = hotfile_next_file(&file, &saved)) > 0) {
		struct known known;
		uint64_t size = 0;
		bool found = find_open(cache, &saved, &known, &size);

		loading.load.files += found;
		loading.load.files_missing += !found;
		r = load_file(&loading, &file, found ? &known : NULL, size);
	}
	hotfile_close(&file);
	stats_add(call.shard, STAT_PREFETCH_PAGES, loading.started);
	if (load) {
		loading.load.size = load->size;
		memcpy(load, &loading.load,
			load->size < sizeof(loading.load) ? load->size : sizeof(loading.load));
	}
	return r ? r : (ssize_t)loading.started;
}
