/* SPDX-License-Identifier: BSD-2-Clause */
/* cache-change.c - mode cache: files that change, grow, shrink, and are closed and opened. */
#include <fcntl.h>
#include <stdlib.h>

#include "cache-mode.h"

#define CHANGED_MAX 64

/* Steps 1 and 3 of backend.h, for some regions. */
struct change {
	struct file *of;
	uint64_t first;
	unsigned regions;
	uint64_t now[CHANGED_MAX];
};

static void change_begin(struct change *change, struct file *of, uint64_t first, unsigned regions)
{
	unsigned i;

	change->of = of;
	change->first = first;
	change->regions = regions;
	for (i = 0; i < regions; i++)
		change->now[i] = folio_u64_fetch_add_release(&of->now[first + i], 1) + 1;
	/* Reads between the two steps may still see the old generation. */
	pause_often();
}

static void change_end(const struct change *change)
{
	unsigned i;

	for (i = 0; i < change->regions; i++) {
		folio_u64 *done = &change->of->done[change->first + i];
		uint64_t old = folio_u64_load_relaxed(done);

		while (old < change->now[i] && !folio_u64_cas_release(done, &old, change->now[i]))
			continue;
	}
}

void op_invalidate(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	struct file *of = handle->of;
	unsigned regions = 1 + (unsigned)rng_below(&worker->rng, 3);
	uint64_t first = any_page(worker, of) / REGION_PAGES;
	const uint64_t bytes = REGION_PAGES * FOLIO_PAGE_SIZE;
	struct change change;
	int r;

	if (regions > of->regions - first)
		regions = (unsigned)(of->regions - first);
	change_begin(&change, of, first, regions);
	r = folio_file_invalidate(handle->file, first * bytes,
		first + regions == of->regions && rng_one_in(&worker->rng, 2) ? UINT64_MAX
									      : regions * bytes);
	if (r)
		violation(
			VIOLATION_RESULT, "an invalidation of file %u returned %d", of->number, r);
	change_end(&change);
	worker_add(worker, COUNT_INVALIDATIONS, 1);
}

void open_file(struct worker *worker, struct handle *handle, struct file *of)
{
	char path[BACKEND_PATH];
	int r;

	backend_path(path, of);
	r = folio_file_open(cache, path, O_RDONLY, 0, &handle->file);
	if (r) {
		violation(VIOLATION_RESULT, "an open of file %u returned %d", of->number, r);
		abort();
	}
	handle->of = of;
	if (worker)
		worker_add(worker, COUNT_OPENS, 1);
}

void close_file(struct handle *handle)
{
	int r = folio_file_close(handle->file);

	if (r)
		violation(
			VIOLATION_RESULT, "a close of file %u returned %d", handle->of->number, r);
}

/*
 * Changes the complete file. The change shows in the file's time, which the cache checks on
 * revalidation and open.
 */
void op_change(struct worker *worker)
{
	struct own *own = worker->own;
	struct handle *handle = &own->handle[rng_below(&worker->rng, HANDLES)];
	struct file *of = handle->of;
	struct change change;
	int r;

	if (of->regions > CHANGED_MAX)
		return;
	change_begin(&change, of, 0, of->regions);
	folio_u64_fetch_add_release(&of->mtime, 1);
	if (rng_one_in(&worker->rng, 2)) {
		r = folio_file_revalidate(handle->file);
		if (r < 0)
			violation(VIOLATION_RESULT, "a revalidation of file %u returned %d",
				of->number, r);
	} else {
		struct handle other;

		open_file(worker, &other, of);
		close_file(handle);
		*handle = other;
	}
	change_end(&change);
	worker_add(worker, COUNT_CHANGES, 1);
}

/* The worker's handle of the file whose size changes; NULL: it has none. */
static struct handle *resized_handle(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i;

	for (i = 0; i < HANDLES; i++)
		if (own->handle[i].of->is_resized)
			return &own->handle[i];
	return NULL;
}

/* Sets new contents and a new size. The cache notices by the time of change. */
static void resize(struct worker *worker, struct handle *handle)
{
	struct file *of = handle->of;
	uint64_t size = rng_below(&worker->rng, of->pages_max * FOLIO_PAGE_SIZE + 1);
	struct change change;
	int r;

	change_begin(&change, of, 0, of->regions);
	folio_u64_store_release(&of->size, size);
	/* A reader that reaches the end in the meantime queries the size itself. */
	pause_often();
	folio_u64_fetch_add_release(&of->mtime, 1);
	r = folio_file_revalidate(handle->file);
	if (r < 0)
		violation(VIOLATION_RESULT, "a revalidation of file %u returned %d", of->number, r);
	change_end(&change);
	worker_add(worker, COUNT_RESIZES, 1);
}

/* Appends without a notification: a reader at the end finds the growth. */
static void append(struct worker *worker, struct handle *handle)
{
	struct file *of = handle->of;
	uint64_t end = folio_u64_load_relaxed(&of->size);
	uint64_t size = end + 1 + rng_below(&worker->rng, 4 * FOLIO_PAGE_SIZE);
	ssize_t r;
	char byte;

	if (size > of->pages_max * FOLIO_PAGE_SIZE)
		return;
	folio_u64_store_release(&of->size, size);
	pause_often();
	r = folio_file_read(handle->file, &byte, 1, end);
	if (r != 1 && !error_allowed(worker, r, false))
		violation(VIOLATION_RESULT,
			"a read at the old end %lu of file %u, which ends at %lu now, returned %zd",
			(unsigned long)end, of->number, (unsigned long)size, r);
	worker_add(worker, COUNT_APPENDS, 1);
}

void op_size(struct worker *worker)
{
	struct handle *handle = resized_handle(worker);
	struct file *of;

	if (!handle || handle->of->regions > CHANGED_MAX)
		return;
	of = handle->of;
	pthread_mutex_lock(&of->resize_lock);
	/* The stores below are releases: a thread that sees any of them sees the odd number. */
	folio_u64_fetch_add_relaxed(&of->resizes, 1);
	if (rng_one_in(&worker->rng, 4))
		resize(worker, handle);
	else
		append(worker, handle);
	folio_u64_fetch_add_release(&of->resizes, 1);
	pthread_mutex_unlock(&of->resize_lock);
}

void op_reopen(struct worker *worker)
{
	struct own *own = worker->own;
	struct handle *handle = &own->handle[rng_below(&worker->rng, HANDLES)];

	close_file(handle);
	open_file(worker, handle, backend_file((unsigned)rng_below(&worker->rng, FILES)));
	folio_file_advise(handle->file, (enum folio_advice)rng_below(&worker->rng, 4));
	/* They may be refused. */
	folio_file_set_share(handle->file, rng_below(&worker->rng, 64) * FOLIO_PAGE_SIZE,
		rng_below(&worker->rng, 2) * rng_below(&worker->rng, 256) * FOLIO_PAGE_SIZE);
}
