/* SPDX-License-Identifier: BSD-2-Clause */
/* cache-read.c - mode cache: reads by copy and in place, and prefetches. */
#include <string.h>

#include "cache-mode.h"

struct handle *any_handle(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i = (unsigned)rng_below(&worker->rng, HANDLES + 1);

	return i < HANDLES ? &own->handle[i] : &shared[rng_below(&worker->rng, 2)];
}

/* Any page of the file, sometimes the last. A few pages are hot. */
uint64_t any_page(struct worker *worker, const struct file *of)
{
	uint64_t pages =
		(folio_u64_load_relaxed(&of->size) + FOLIO_PAGE_SIZE - 1) / FOLIO_PAGE_SIZE;

	if (pages == 0)
		return 0;
	if (rng_one_in(&worker->rng, 16))
		return pages - 1;
	if (rng_one_in(&worker->rng, 2) && pages > 4)
		return rng_below(&worker->rng, 4);
	return rng_below(&worker->rng, pages);
}

/*
 * Checks the result @r of a read of @len bytes at @offset. @seen is from before the read. Returns
 * @r.
 */
static ssize_t read_judged(struct worker *worker, const struct handle *handle,
	const struct view *seen, const char *buffer, uint64_t offset, size_t len, bool nowait,
	ssize_t r)
{
	const struct file *of = handle->of;
	size_t expected, done, at;
	bool strict = size_unchanged(seen);

	worker_add(worker, COUNT_READS, 1);
	if (r < 0) {
		if (!error_allowed(worker, r, nowait))
			violation(VIOLATION_RESULT, "a read of file %u at %lu returned %zd",
				of->number, (unsigned long)offset, r);
		return r;
	}
	done = (size_t)r;
	worker_add(worker, COUNT_READ_BYTES, done);
	if (done > len) {
		violation(VIOLATION_RESULT, "a read of %zu bytes of file %u returned %zu", len,
			of->number, done);
		return r;
	}
	expected = offset >= seen->size ? 0 : len < seen->size - offset ? len : seen->size - offset;
	/* A read may stop at an error after some bytes, and returns fewer bytes then. */
	if (strict && done != expected &&
		(done > expected || done == 0 || (offset + done) % FOLIO_PAGE_SIZE != 0))
		violation(VIOLATION_RESULT,
			"a read of %zu bytes of file %u at %lu returned %zu of %zu", len,
			of->number, (unsigned long)offset, done, expected);
	for (at = 0; at < done;) {
		uint64_t index = (offset + at) / FOLIO_PAGE_SIZE, generation;
		size_t in_page = (offset + at) % FOLIO_PAGE_SIZE, n = FOLIO_PAGE_SIZE - in_page;

		if (n > done - at)
			n = done - at;
		generation = check_page("copy", seen, index, buffer + at, in_page, n, n, strict);
		if (generation != UINT64_MAX)
			histogram_add(
				&worker->histogram[HISTOGRAM_COPY], now_of(of, index) - generation);
		at += n;
	}
	return r;
}

static ssize_t read_checked(
	struct worker *worker, struct handle *handle, uint64_t offset, size_t len, bool nowait)
{
	struct own *own = worker->own;
	struct view seen;
	ssize_t r;

	view(&seen, handle->of, offset / FOLIO_PAGE_SIZE, (offset + len) / FOLIO_PAGE_SIZE);
	memset(own->buffer, 0xcc, len);
	r = nowait ? folio_file_read_nowait(handle->file, own->buffer, len, offset)
		   : folio_file_read(handle->file, own->buffer, len, offset);
	return read_judged(worker, handle, &seen, own->buffer, offset, len, nowait, r);
}

#define BATCH_READS 48
#define BATCH_BYTES 256

/* Reads at random offsets, most of them short, so that some hit and some miss. */
void op_read_batch(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	struct own *own = worker->own;
	struct folio_read reads[BATCH_READS];
	struct view seen[BATCH_READS];
	unsigned i, count = 1 + (unsigned)rng_below(&worker->rng, BATCH_READS);
	bool nowait = rng_one_in(&worker->rng, 8);
	int r;

	for (i = 0; i < count; i++) {
		reads[i].buf = own->buffer + i * BATCH_BYTES;
		reads[i].offset = any_page(worker, handle->of) * FOLIO_PAGE_SIZE +
				  rng_below(&worker->rng, FOLIO_PAGE_SIZE);
		reads[i].len =
			rng_one_in(&worker->rng, 2) ? 64 : 1 + rng_below(&worker->rng, BATCH_BYTES);
		view(&seen[i], handle->of, reads[i].offset / FOLIO_PAGE_SIZE,
			(reads[i].offset + reads[i].len) / FOLIO_PAGE_SIZE);
	}
	memset(own->buffer, 0xcc, (size_t)count * BATCH_BYTES);
	r = folio_file_read_batch(handle->file, reads, count, nowait ? FOLIO_READ_NOWAIT : 0);
	if (r) {
		violation(
			VIOLATION_RESULT, "a batch of file %u returned %d", handle->of->number, r);
		return;
	}
	for (i = 0; i < count; i++)
		read_judged(worker, handle, &seen[i], reads[i].buf, reads[i].offset, reads[i].len,
			nowait, reads[i].result);
}

void op_read_short(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	uint64_t page = any_page(worker, handle->of);
	size_t len = rng_one_in(&worker->rng, 2) ? 64 : 1 + rng_below(&worker->rng, 128);

	read_checked(worker, handle,
		page * FOLIO_PAGE_SIZE + rng_below(&worker->rng, FOLIO_PAGE_SIZE), len,
		rng_one_in(&worker->rng, 8));
}

void op_read_long(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	uint64_t offset = any_page(worker, handle->of) * FOLIO_PAGE_SIZE;
	size_t len = FOLIO_PAGE_SIZE;

	if (rng_one_in(&worker->rng, 2)) {
		offset += rng_below(&worker->rng, FOLIO_PAGE_SIZE);
		len = 1 + rng_below(&worker->rng, (BUFFER_PAGES - 2) * FOLIO_PAGE_SIZE);
	}
	read_checked(worker, handle, offset, len, rng_one_in(&worker->rng, 8));
}

/* Sequential, so that large folios are read ahead. */
void op_scan(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	uint64_t offset = any_page(worker, handle->of) * FOLIO_PAGE_SIZE;
	size_t len = rng_one_in(&worker->rng, 2) ? FOLIO_PAGE_SIZE : 3000;
	unsigned times = 8 + (unsigned)rng_below(&worker->rng, 64);
	ssize_t n;

	while (times-- > 0 && (n = read_checked(worker, handle, offset, len, false)) > 0)
		offset += (uint64_t)n;
}

/* What has happened to the page before the second look, the reader must notice. */
void op_peek(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	struct own *own = worker->own;
	uint64_t index = any_page(worker, handle->of), generation;
	size_t at = rng_below(&worker->rng, FOLIO_PAGE_SIZE);
	size_t len = 1 + rng_below(&worker->rng, FOLIO_PAGE_SIZE - at);
	const struct folio_view *in_place;
	struct folio_peek peek;
	struct view seen;
	const char *page;
	int r;

	r = folio_file_view(handle->file, FOLIO_VIEW_LAYOUT, &in_place);
	if (r) {
		violation(VIOLATION_RESULT, "folio_file_view returned %d", r);
		return;
	}
	view(&seen, handle->of, index, index);
	page = folio_peek(in_place, index, &peek);
	if (!page)
		return;
	worker_add(worker, COUNT_PEEKS, 1);
	pause_often();
	folio_peek_copy(own->buffer, page + at, len);
	pause_often();
	if (!folio_peek_valid(&peek)) {
		worker_add(worker, COUNT_PEEKS_ENDED, 1);
		return;
	}
	generation =
		check_page("peek", &seen, index, own->buffer, at, len, len, size_unchanged(&seen));
	if (generation != UINT64_MAX)
		histogram_add(
			&worker->histogram[HISTOGRAM_COPY], now_of(handle->of, index) - generation);
}

void op_prefetch(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	struct folio_range range[4];
	unsigned i, count = 1 + (unsigned)rng_below(&worker->rng, 4);
	ssize_t r;

	for (i = 0; i < count; i++)
		range[i] = (struct folio_range){any_page(worker, handle->of) * FOLIO_PAGE_SIZE,
			1 + rng_below(&worker->rng, 8 * FOLIO_PAGE_SIZE)};
	r = folio_file_prefetch(handle->file, range, count);
	if (r < 0)
		violation(VIOLATION_RESULT, "a prefetch of file %u returned %zd",
			handle->of->number, r);
	worker_add(worker, COUNT_PREFETCHES, 1);
}
