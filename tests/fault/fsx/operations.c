/* SPDX-License-Identifier: BSD-2-Clause */
/* operations.c - the operations, each compared with the model. */
#include "world.h"

/* Chooses a range to read, write or punch, in a file of at most @limit bytes. */
static void choose_range(struct world *w, uint64_t limit, uint64_t *offset, uint64_t *len)
{
	uint64_t end;

	switch (below(w, 8)) {
	case 0:
		*len = 1 + below(w, 64);
		break;
	case 1:
	case 2:
		*len = 1 + below(w, PAGE);
		break;
	case 3:
		*len = PAGE;
		break;
	case 4:
		*len = PAGE * (1 + below(w, LENGTH_MAX / PAGE));
		break;
	case 5:
		*len = 1 + below(w, LENGTH_MAX);
		break;
	default:
		*len = 1 + below(w, 3 * PAGE);
		break;
	}
	switch (below(w, 8)) {
	case 0:
	case 1:
	case 2:
		*offset = below(w, limit + 1) / PAGE * PAGE;
		break;
	case 3: /* Near the end of the file. */
		*offset = w->size > *len ? w->size - *len + below(w, 64) : w->size;
		break;
	case 4: /* Ends near a border. */
		end = (1 + below(w, limit / PAGE)) * PAGE;
		*offset = end > *len ? end - *len : 0;
		break;
	default:
		*offset = below(w, limit + 1);
		break;
	}
	if (*offset > limit)
		*offset = limit;
	if (*len > limit - *offset)
		*len = limit - *offset;
	w->now->offset = *offset;
	w->now->len = *len;
}

static void fill_buffer(struct world *w, uint64_t len)
{
	uint64_t i, word, state = w->random;

	for (i = 0; i < len; i += 8) {
		word = next_random(&state);
		memcpy(w->buffer + i, &word, 8);
	}
	below(w, 2);
}

#define PIECES 40

/*
 * Reads in pieces with one call, each like a separate read. Together they return what one read
 * returns.
 */
static ssize_t read_in_pieces(
	struct world *w, struct folio_file *file, uint64_t len, uint64_t offset, bool nowait)
{
	struct folio_read reads[PIECES];
	unsigned i, count = 1 + (unsigned)below(w, PIECES);
	uint64_t done = 0;
	int r;

	for (i = 0; i < count; i++) {
		uint64_t from = len * i / count, to = len * (i + 1) / count;

		reads[i] = (struct folio_read){
			w->buffer + from, to - from, w->base + offset + from, 0};
	}
	r = folio_file_read_batch(file, reads, count, nowait ? FOLIO_READ_NOWAIT : 0);
	if (r)
		return r;
	for (i = 0; i < count; i++) {
		if (reads[i].result > 0)
			compare(w, "a read of several", reads[i].buf, reads[i].offset - w->base,
				(size_t)reads[i].result);
	}
	for (i = 0; i < count; i++) {
		if (reads[i].result < 0)
			return done ? (ssize_t)done : reads[i].result;
		done += (uint64_t)reads[i].result;
		if ((uint64_t)reads[i].result < reads[i].len)
			break;
	}
	return (ssize_t)done;
}

/* Reads before the base: next to the data, or anywhere. */
static void read_hole(struct world *w, struct handle *handle)
{
	uint64_t len = 1 + below(w, 3 * PAGE), before = len, i;
	ssize_t n;

	if (one_in(w, 2))
		before += below(w, w->base - len + 1);
	n = folio_file_read(handle->file, w->buffer, len, w->base - before);
	if (n < 0)
		failed(w, n, "read");
	else if (n != (ssize_t)len && !w->faults && !is_cut(w))
		differ(w, "read %zd bytes of a hole, expected %llu", n, (unsigned long long)len);
	for (i = 0; n > 0 && i < (uint64_t)n; i++)
		if (w->buffer[i])
			differ(w, "a hole has data, %llu bytes before %#llx",
				(unsigned long long)(before - i), (unsigned long long)w->base);
}

void do_read(struct world *w, bool nowait)
{
	struct handle *handle = any_handle(w, false);
	uint64_t offset, len, expected;
	ssize_t n;

	choose_range(w, w->limit, &offset, &len);
	if (!handle)
		return;
	if (w->base && w->operation % 16 == 0)
		read_hole(w, handle);
	expected = offset >= w->size ? 0 : w->size - offset < len ? w->size - offset : len;
	/* Anything but the expected data. */
	memset(w->buffer, 0x5a, len < 64 ? len : 64);
	if (below(w, 4))
		n = (nowait ? folio_file_read_nowait : folio_file_read)(
			handle->file, w->buffer, len, w->base + offset);
	else
		n = read_in_pieces(w, handle->file, len, offset, nowait);
	w->now->result = n;
	if (n < 0) {
		if (!(nowait && n == -EAGAIN))
			failed(w, n, "read");
		return;
	}
	if (n > (ssize_t)expected || (n < (ssize_t)expected && !nowait && !w->faults && !is_cut(w)))
		differ(w, "read %zd bytes, expected %llu", n, (unsigned long long)expected);
	w->totals.bytes_read += (uint64_t)n;
	compare(w, "a read", w->buffer, offset, (size_t)n);
}

void do_pin(struct world *w)
{
	struct pin *pin = &w->pin[below(w, PINS)];
	uint64_t index = below(w, w->size / PAGE + 2), len;
	struct handle *handle = any_handle(w, false);
	struct folio *folio;
	void *memory;
	int r;

	if (index >= w->pages)
		index = w->pages - 1;
	w->now->offset = index * PAGE;
	w->now->len = PAGE;
	if (!handle)
		return;
	r = folio_file_get_page(handle->file, w->base / PAGE + index, 0, &folio, &memory);
	w->now->result = r;
	if (r == -ENODATA && index * PAGE >= w->size)
		return;
	if (r) {
		failed(w, r, "get");
		return;
	}
	if (index * PAGE >= w->size)
		differ(w, "page %llu is past the end, but can be pinned",
			(unsigned long long)index);
	len = w->size - index * PAGE < PAGE ? w->size - index * PAGE : PAGE;
	compare(w, "a pinned page", memory, index * PAGE, len);
	unpin(w, pin);
	pin->folio = folio;
	pin->memory = memory;
	pin->index = index;
	pin->len = len;
	pin->generation = w->generation[index];
	pin->sunk = 0;
}

void do_write(struct world *w, bool append)
{
	struct handle *handle = any_handle(w, true);
	uint64_t offset, len;
	ssize_t n;

	choose_range(w, one_in(w, 4) || append ? w->limit : w->size, &offset, &len);
	if (append) {
		offset = w->size;
		if (len > w->limit - offset)
			len = w->limit - offset;
		w->now->offset = offset;
		w->now->len = len;
	}
	fill_buffer(w, len);
	if (!handle)
		return;
	n = folio_file_write(handle->file, w->buffer, len, w->base + offset);
	w->now->result = n;
	if (n < 0) {
		failed(w, n, "write");
		n = 0;
	} else if (n > (ssize_t)len || (n < (ssize_t)len && !w->faults && !is_cut(w))) {
		differ(w, "wrote %zd bytes of %llu", n, (unsigned long long)len);
	}
	w->totals.bytes_written += (uint64_t)n;
	if (n)
		model_write(w, w->buffer, offset, (uint64_t)n);
}

void do_write_pinned(struct world *w)
{
	struct handle *handle = any_handle(w, true);
	uint64_t index, skip, len, have;
	struct folio *folio;
	void *memory;
	int r;

	index = below(w, (w->size + PAGE - 1) / PAGE);
	skip = below(w, PAGE);
	len = 1 + below(w, PAGE - skip);
	fill_buffer(w, len);
	w->now->offset = index * PAGE + skip;
	w->now->len = len;
	if (!handle || !w->size)
		return;
	r = folio_file_get_page(handle->file, w->base / PAGE + index, 0, &folio, &memory);
	w->now->result = r;
	if (r) {
		failed(w, r, "get");
		return;
	}
	/* It waits as a write does, if too much is dirty. */
	r = folio_lock(folio);
	w->now->result = r;
	if (r) {
		failed(w, r, "lock");
		folio_put(folio);
		return;
	}
	/* Also past the end: those bytes are never written, and are zeros when the file grows. */
	memcpy((char *)memory + skip, w->buffer, len);
	if (w->sequence)
		atomic_store(&w->sequence[index], ++w->sequence_last);
	r = folio_mark_dirty(folio, w->sequence ? w->sequence_last : 0);
	if (r)
		differ(w, "a locked page cannot be marked dirty: %s", strerror(-r));
	folio_unlock(folio);
	folio_put(folio);
	have = w->size - index * PAGE;
	if (skip < have)
		model_write(
			w, w->buffer, index * PAGE + skip, len < have - skip ? len : have - skip);
	w->totals.bytes_written += len;
}

/*
 * Makes the file shorter than its base, and as long as that again: the model becomes empty. Not
 * with power cuts, after which the file might be so short.
 */
static void truncate_below_base(struct world *w, struct handle *handle)
{
	int r;

	if (!w->base || w->cuts)
		return;
	r = folio_file_truncate(handle->file, below(w, w->base));
	if (r) {
		failed(w, r, "truncate");
		return;
	}
	pause_faults(w);
	r = folio_file_truncate(handle->file, w->base);
	if (r)
		differ(w, "the file cannot be made longer: %s", strerror(-r));
	resume_faults(w);
	model_truncate(w, 0);
}

void do_truncate(struct world *w, bool grow)
{
	struct handle *handle = any_handle(w, true);
	uint64_t size;
	int r;

	size = grow ? w->size + below(w, w->limit - w->size + 1) : below(w, w->size + 1);
	if (one_in(w, 3))
		size = size / PAGE * PAGE;
	/* Also in small steps. */
	if (!grow && w->size && one_in(w, 2))
		size = w->size - 1 - below(w, w->size < 2 * PAGE ? w->size : 2 * PAGE);
	w->now->offset = size;
	if (!handle)
		return;
	w->dropped = w->dropped || size < w->size;
	if (!grow && w->operation % 4 == 0)
		truncate_below_base(w, handle);
	r = folio_file_truncate(handle->file, w->base + size);
	w->now->result = r;
	if (!r) {
		model_truncate(w, size);
		return;
	}
	failed(w, r, "truncate");
	/* If the power failed during the call, it may have happened. */
	if (is_cut(w)) {
		uint64_t had = w->size;

		model_truncate(w, size);
		set_size(w, had);
	}
}

/* A punch failed: each page is punched completely or not at all. Reads find out which. */
static void check_hole(struct world *w, struct handle *handle, uint64_t offset, uint64_t len)
{
	uint64_t at, part, end = offset + len < w->size ? offset + len : w->size;
	unsigned char *page = w->buffer;

	if (is_cut(w)) {
		model_punch(w, offset, len);
		return;
	}
	pause_faults(w);
	for (at = offset; at < end; at += part) {
		part = PAGE - at % PAGE < end - at ? PAGE - at % PAGE : end - at;
		if (folio_file_read(handle->file, page, part, w->base + at) != (ssize_t)part) {
			if (is_cut(w)) {
				model_punch(w, offset, len);
				break;
			}
			differ(w, "what a failed punch left cannot be read");
		}
		if (memcmp(page, w->model + at, part) != 0)
			model_punch(w, at, part);
		compare(w, "what a failed punch left", page, at, part);
	}
	resume_faults(w);
}

void do_punch(struct world *w)
{
	struct handle *handle = any_handle(w, true);
	uint64_t offset, len;
	int r;

	choose_range(w, one_in(w, 4) ? w->limit : w->size, &offset, &len);
	if (!handle)
		return;
	w->dropped = true;
	r = folio_file_punch(handle->file, w->base + offset, len);
	w->now->result = r;
	if (!r) {
		model_punch(w, offset, len);
		return;
	}
	failed(w, r, "punch");
	check_hole(w, handle, offset, len);
}

/* What the device has in a page; zeros past the end of its file. */
static void peek_page(struct world *w, uint64_t page, unsigned char *to)
{
	ssize_t n;

	if (w->sim) {
		sim_peek(w->disk, to, PAGE, w->base + page * PAGE);
		return;
	}
	n = pread(w->view, to, PAGE, (off_t)(w->base + page * PAGE));
	if (n < 0)
		differ(w, "pread: %s", strerror(errno));
	memset(to + n, 0, PAGE - (size_t)n);
}

/*
 * Each complete page of a discarded range has the bytes of the device; if the discard failed,
 * perhaps still those of the model.
 */
static void check_discarded(
	struct world *w, struct handle *handle, uint64_t first, uint64_t end, bool succeeded)
{
	unsigned char device[FOLIO_PAGE_SIZE];
	uint64_t page;

	pause_faults(w);
	for (page = first; page < end && page * PAGE < w->size; page++) {
		uint64_t at = page * PAGE, len = w->size - at < PAGE ? w->size - at : PAGE;

		if (folio_file_read(handle->file, w->buffer, len, w->base + at) != (ssize_t)len) {
			if (!is_cut(w))
				differ(w, "a page cannot be read after a discard");
			break;
		}
		peek_page(w, page, device);
		if (memcmp(w->buffer, device, len) == 0) {
			memcpy(w->model + at, device, len);
			changed(w, at, len);
			if (w->sequence)
				atomic_store(&w->sequence[page], 0);
		} else if (succeeded) {
			differ(w, "the discarded page %llu is not as on the device",
				(unsigned long long)page);
		} else {
			compare(w, "a page that a failed discard left", w->buffer, at, len);
		}
	}
	resume_faults(w);
}

void do_discard(struct world *w)
{
	struct handle *handle = any_handle(w, true);
	uint64_t offset, len, first, end, size, device;
	bool cut;
	int r;

	choose_range(w, one_in(w, 4) ? w->limit : w->size, &offset, &len);
	if (!handle)
		return;
	first = (offset + PAGE - 1) / PAGE;
	end = offset + len < w->size ? (offset + len) / PAGE : w->pages;
	w->dropped = true;
	r = folio_file_discard(handle->file, w->base + offset, len);
	w->now->result = r;
	if (r)
		failed(w, r, "discard");
	size = folio_file_size(handle->file) - w->base;
	cut = is_cut(w);
	/*
	 * A truncation during which the power failed may have happened. But a file that is shorter
	 * on the device for another reason has not been written up to its end.
	 */
	device = sim_size(w->disk) - w->base;
	if (cut && end == w->pages && device >= first * PAGE)
		size = device;
	if (size < w->size) {
		uint64_t had = w->size;

		if (end < w->pages || size < first * PAGE)
			differ(w, "a discard has changed the size to %#llx",
				(unsigned long long)size);
		model_truncate(w, size);
		if (cut)
			set_size(w, had);
	}
	if (!cut)
		check_discarded(w, handle, first, end, r == 0);
}

/* After a sync of all pages: the cache asks for the times of the file if it must, and only then. */
static void check_times(struct world *w, unsigned flags, bool kept_before)
{
	bool kept = sim_keeps_times(w->disk);

	if (!(flags & FOLIO_SYNC_DATA) && !kept)
		differ(w, "after a sync a power cut can lose the times of the file");
	if (flags & FOLIO_SYNC_DATA && kept && !kept_before)
		differ(w, "a sync of the data has made the times durable, too");
}

void do_sync(struct world *w, bool all)
{
	struct handle *handle = any_handle(w, false);
	uint64_t offset = 0, len = UINT64_MAX, before, after, syncs, refused, where = 0;
	struct folio_range range;
	unsigned flags = one_in(w, 2) ? FOLIO_SYNC_DATA : 0;
	bool must_fail, too_short, times_kept;
	int r;

	if (!all)
		choose_range(w, w->limit, &offset, &len);
	/* Without a handle for writing there is nothing to sync with. */
	if (!handle || !w->handle[0].file)
		return;
	before = failures(w, w->faults || w->cuts);
	times_kept = w->sim && sim_keeps_times(w->disk);
	syncs = w->sim ? sim_failed(w->disk, SIM_SYNC) : 0;
	refused = w->sim ? sim_failed(w->disk, SIM_TRUNCATE) : 0;
	range = (struct folio_range){w->base + offset, len};
	r = folio_file_sync(handle->file, all ? NULL : &range, flags);
	after = failures(w, false);
	w->now->result = r;
	if (r)
		failed(w, r, "sync");
	if (is_cut(w))
		return;
	/* The device refused to make the file long enough: this error alone is returned. */
	too_short = w->sim && sim_failed(w->disk, SIM_TRUNCATE) != refused;
	must_fail = handle->reported != before || w->sync_failed;
	if (len && r == 0 && must_fail && !handle->reported_unknown)
		differ(w, w->sync_failed
				  ? "a sync of the device had failed, and this sync returns 0"
				  : "an error of write-back is not reported");
	if (r && !must_fail && !too_short && before == after && !handle->reported_unknown)
		differ(w, "an error is reported again: %s", strerror(-r));
	if (len && !too_short) {
		handle->reported = r ? after : before;
		handle->reported_unknown = r && before != after;
	}
	if (w->sim && sim_failed(w->disk, SIM_SYNC) != syncs) {
		w->sync_failed = true;
		/* Only a power cut can show what the device has lost. */
		w->poisoned = w->cuts;
		w->forgot = true;
	}
	if (r || !len || offset >= w->size)
		return;
	if (all && w->sim)
		check_times(w, flags, times_kept);
	compare_file(w, "after a sync", offset, len);
	if (len > w->size - offset)
		len = w->size - offset;
	if (w->sim && !w->forgot &&
		!sim_keeps(w->disk, w->model + offset, len, w->base + offset, &where))
		differ(w, "after a sync a power cut can lose the data at %#llx",
			(unsigned long long)(where - w->base));
	model_synced(w, offset, len);
}

void do_reopen(struct world *w, bool all)
{
	unsigned i = (unsigned)below(w, HANDLES), k;
	bool reopen = !one_in(w, 3), writable = one_in(w, 2);

	w->now->handle = (int)i;
	for (k = 0; k < HANDLES; k++)
		if ((all || k == i) && w->handle[k].file)
			close_handle(w, &w->handle[k]);
	if (is_cut(w))
		return;
	/* A handle for reading may be the first. */
	if (all && reopen && !writable)
		open_handle(w, &w->handle[1], false);
	/* One handle can always write. */
	if (!w->handle[0].file)
		open_handle(w, &w->handle[0], true);
	if (reopen && !w->handle[1].file && w->handle[0].file)
		open_handle(w, &w->handle[1], writable);
}

void do_invalidate(struct world *w)
{
	struct handle *handle = any_handle(w, false);
	uint64_t offset, len;

	choose_range(w, w->limit, &offset, &len);
	if (one_in(w, 4)) {
		offset = 0;
		len = UINT64_MAX;
	}
	if (handle)
		w->now->result = folio_file_invalidate(
			handle->file, len == UINT64_MAX ? offset : w->base + offset, len);
	w->dropped = true;
	if (w->now->result)
		differ(w, "invalidate failed: %lld", (long long)w->now->result);
}

void do_revalidate(struct world *w)
{
	struct handle *handle = any_handle(w, false);

	if (!handle)
		return;
	w->now->result = folio_file_revalidate(handle->file);
	if (w->now->result < 0)
		failed(w, w->now->result, "revalidate");
}

void do_prefetch(struct world *w)
{
	struct handle *handle = any_handle(w, false);
	struct folio_range range[4];
	unsigned i, count = 1 + (unsigned)below(w, 4);

	for (i = 0; i < count; i++)
		choose_range(w, w->limit, &range[i].offset, &range[i].len);
	for (i = 0; i < count; i++)
		range[i].offset += w->base;
	if (!handle)
		return;
	w->now->result = folio_file_prefetch(handle->file, range, count);
	if (w->now->result < 0)
		differ(w, "prefetch failed: %lld", (long long)w->now->result);
}

void do_advise(struct world *w)
{
	struct handle *handle = any_handle(w, false);
	enum folio_advice advice = (enum folio_advice)below(w, 4);

	if (!handle)
		return;
	w->now->result = folio_file_advise(handle->file, advice);
	/* Bounds decide what stays cached, and nothing else. They may be too large. */
	folio_file_set_share(handle->file, below(w, 64) * FOLIO_PAGE_SIZE,
		below(w, 2) * below(w, 256) * FOLIO_PAGE_SIZE);
}
