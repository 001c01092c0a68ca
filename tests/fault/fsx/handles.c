/* SPDX-License-Identifier: BSD-2-Clause */
/* handles.c - pins, open handles, the cache, and a power cut. */
#include "world.h"
#include "cache/types.h"

static void check_pin(struct world *w, struct pin *pin)
{
	if (pin->sunk) {
		if (memcmp(pin->memory, pin->copy, pin->sunk) != 0)
			differ(w, "the page %llu, truncated under its pin, has changed",
				(unsigned long long)pin->index);
	} else if (w->generation[pin->index] == pin->generation) {
		compare(w, "a pinned page", pin->memory, pin->index * PAGE, pin->len);
	}
}

void unpin(struct world *w, struct pin *pin)
{
	if (!pin->folio)
		return;
	check_pin(w, pin);
	folio_put(pin->folio);
	pin->folio = NULL;
}

void unpin_all(struct world *w)
{
	unsigned i;

	for (i = 0; i < PINS; i++)
		unpin(w, &w->pin[i]);
}

struct handle *any_handle(struct world *w, bool writable)
{
	unsigned i, first = (unsigned)below(w, HANDLES);

	for (i = 0; i < HANDLES; i++) {
		struct handle *handle = &w->handle[(first + i) % HANDLES];

		if (handle->file && (handle->writable || !writable)) {
			w->now->handle = (int)(handle - w->handle);
			return handle;
		}
	}
	return NULL;
}

static bool nothing_open(const struct world *w)
{
	unsigned i;

	for (i = 0; i < HANDLES; i++)
		if (w->handle[i].file)
			return false;
	return true;
}

static struct folio_cache_stats cache_stats(struct world *w)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	folio_cache_stats(w->cache, &stats);
	return stats;
}

static uint64_t flushes_failed(struct world *w)
{
	return w->disk ? sim_failed(w->disk, SIM_FLUSH) : 0;
}

static void note_first_open(struct world *w)
{
	w->evictions = cache_stats(w).evictions;
	w->flush_failed = flushes_failed(w);
	w->dropped = false;
}

/*
 * A flush has failed, and pages that had been written were no longer cached, so they could not be
 * written again. Without such pages the cache loses nothing.
 */
static bool lost_by_flush(struct world *w)
{
	return flushes_failed(w) != w->flush_failed &&
	       (w->dropped || cache_stats(w).evictions != w->evictions);
}

bool open_handle(struct world *w, struct handle *handle, bool writable)
{
	uint64_t before;
	int r;

	before = failures(w, true);
	if (nothing_open(w))
		note_first_open(w);
	/* Also by a descriptor. */
	if (w->disk && w->operation % 2)
		r = folio_file_open_fd(
			w->cache, sim_fd(w->disk), writable ? O_RDWR : O_RDONLY, &handle->file);
	else
		r = folio_file_open(w->cache, w->sim ? SIM_NAME : options.path,
			writable ? O_RDWR | O_CREAT : O_RDONLY, 0666, &handle->file);
	if (r) {
		handle->file = NULL;
		failed(w, r, "open");
		return false;
	}
	handle->writable = writable;
	if (w->sim && !w->disk)
		w->disk = sim_find(w->sim, SIM_NAME);
	handle->reported = before;
	handle->reported_unknown = failures(w, false) != before;
	return true;
}

/* Compares the file with the model: after a sync, after the last close. */
void compare_file(struct world *w, const char *when, uint64_t offset, uint64_t len)
{
	uint64_t where = 0, size;
	struct stat stat;
	ssize_t n;

	if (offset >= w->size)
		len = 0;
	else if (len > w->size - offset)
		len = w->size - offset;
	if (!w->sim) {
		if (fstat(w->view, &stat) < 0)
			differ(w, "fstat: %s", strerror(errno));
		size = (uint64_t)stat.st_size - w->base;
	} else {
		size = sim_size(w->disk) - w->base;
	}
	if ((len == w->size && size != w->size) || (len && size < offset + len))
		differ(w, "%s the file has %#llx bytes, expected %#llx", when,
			(unsigned long long)size, (unsigned long long)w->size);
	if (!len)
		return;
	if (w->sim) {
		if (sim_has(w->disk, w->model + offset, len, w->base + offset, &where))
			return;
		sim_peek(w->disk, w->buffer, len, w->base + offset);
	} else {
		n = pread(w->view, w->buffer, len, (off_t)(w->base + offset));
		if (n != (ssize_t)len)
			differ(w, "%s the kernel reads %zd bytes of %llu", when, n,
				(unsigned long long)len);
	}
	compare(w, when, w->buffer, offset, len);
}

/* Adopts the contents of a file that may be any mixture of its earlier contents. */
static void adopt(struct world *w, struct folio_file *file, bool on_device)
{
	uint64_t size = folio_file_size(file) - w->base, size_max = 0, at, len, page;
	unsigned i;
	ssize_t n;

	for (i = 0; i < history_sizes(w->history); i++)
		if (history_size(w->history, i) > size_max)
			size_max = history_size(w->history, i);
	if (size < w->size_min || size > size_max)
		differ(w, "the file has %#llx bytes, and had %#llx to %#llx since the last sync",
			(unsigned long long)size, (unsigned long long)w->size_min,
			(unsigned long long)size_max);
	memset(w->buffer, 0, w->max);
	n = folio_file_read(file, w->buffer, size, w->base);
	/* The power failed during the read: the caller that recovers from that adopts the file. */
	if (n != (ssize_t)size && is_cut(w))
		return;
	if (n != (ssize_t)size)
		differ(w, "the file cannot be read: %zd of %#llx bytes", n,
			(unsigned long long)size);
	for (at = 0; at < w->max; at += SECTOR) {
		/* The sector that contains the end. Those past it must be zeros. */
		len = at < size && size - at < SECTOR ? size - at : SECTOR;
		if (history_allows(w->history, at / SECTOR, w->buffer + at, len))
			continue;
		printf("fsx: sector at %#llx is none of the %u that it was since the last sync:\n",
			(unsigned long long)at, history_versions(w->history, at / SECTOR));
		for (i = 0; i < history_versions(w->history, at / SECTOR) && i < 8; i++)
			print_bytes("had", history_version(w->history, at / SECTOR, i), len);
		print_bytes("found", w->buffer + at, len);
		differ(w, "the sector at %#llx has contents that it never had since the last sync",
			(unsigned long long)at);
	}
	for (page = 0; page < w->pages; page++) {
		w->generation[page]++;
		if (w->sequence)
			atomic_store(&w->sequence[page], 0);
	}
	memcpy(w->model, w->buffer, w->max);
	w->size = size;
	if (on_device) {
		w->poisoned = w->forgot = false;
		w->last_sync = w->operation;
		w->size_min = size;
		history_settle(w->history, w->model, 0, w->max);
		history_settle_size(w->history, size);
	} else {
		history_note(w->history, w->model, 0, w->max);
		set_size(w, size);
	}
}

/*
 * Closes a handle. The last close writes back. If it fails, the handle stays open: close again, or
 * abandon the file, which leaves a mixture.
 */
void close_handle(struct world *w, struct handle *handle)
{
	bool last, dropped = false;
	int r = folio_file_close(handle->file);

	if (r) {
		failed(w, r, "close");
		if (one_in(w, 2) || is_cut(w)) {
			r = folio_file_abandon(handle->file);
			dropped = r != 0;
			if (r)
				failed(w, r, "abandon");
		} else {
			pause_faults(w);
			r = folio_file_close(handle->file);
			/* The power may fail in the meantime. */
			if (r && is_cut(w)) {
				folio_file_abandon(handle->file);
				dropped = true;
			} else if (r) {
				differ(w, "close fails again without an injected failure: %s",
					strerror(-r));
			}
			resume_faults(w);
		}
	}
	handle->file = NULL;
	last = nothing_open(w);
	if (!last)
		return;
	w->sync_failed = false;
	if (is_cut(w))
		return;
	if (!dropped && !lost_by_flush(w)) {
		compare_file(w, "after the last close", 0, UINT64_MAX);
		return;
	}
	w->totals.abandoned++;
	w->now->note = "abandoned";
	pause_faults(w);
	if (!open_handle(w, &w->handle[0], true) || is_cut(w))
		return;
	adopt(w, w->handle[0].file, false);
	resume_faults(w);
}

bool open_world(struct world *w)
{
	int r;

	w->sync_failed = false;
	r = folio_cache_open(&w->params, &w->cache);
	if (r)
		differ(w, "the cache cannot be opened: %s", strerror(-r));
	/*
	 * With numbers, no copies of pages are written: the device compares a page's last number
	 * with the log, and the copy may have an older one.
	 */
	if (!r && w->sequences)
		w->cache->writeback.bounce.count = w->cache->writeback.bounce.free_count = 0;
	return open_handle(w, &w->handle[0], true);
}

void close_cache(struct world *w)
{
	struct folio_cache_stats stats = cache_stats(w);
	int r;

	w->totals.writes += stats.writes;
	w->totals.evictions += stats.evictions;
	if (stats.pages_dirty || stats.pages_writeback)
		differ(w, "all files are closed, and %llu pages are dirty, %llu in flight",
			(unsigned long long)stats.pages_dirty,
			(unsigned long long)stats.pages_writeback);
	r = folio_cache_close(w->cache);
	if (r)
		differ(w, "the cache cannot be closed: %s", strerror(-r));
	w->cache = NULL;
}

/* The power has failed. Closes everything, then restores the power. */
void recover(struct world *w)
{
	unsigned i;

	w->now->note = "power cut";
	if (w->disk)
		sim_set_end(w->disk, UINT64_MAX);
	w->totals.cuts++;
	for (i = 0; i < PINS; i++) {
		/* The contents of a pin are still valid. */
		unpin(w, &w->pin[i]);
	}
	for (i = 0; i < HANDLES; i++) {
		if (w->handle[i].file)
			folio_file_abandon(w->handle[i].file);
		w->handle[i].file = NULL;
	}
	close_cache(w);
	sim_restore(w->sim);
	sim_pause(w->sim, true);
	w->callback_refuses = false;
	if (!open_world(w))
		differ(w, "the file cannot be opened after a power cut");
	adopt(w, w->handle[0].file, true);
	resume_faults(w);
}
