/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.c - mode cache: files read by copy and by pin, with a budget that holds a fraction of them, while they are
 * prefetched, changed, invalidated, closed and opened again; and a program's own folios out of the same frames.
 *
 * Every byte that comes out is checked: file and page exactly, generation against what may be seen (backend.h). A
 * page under a pin is checked again before the pin is put, which may be by another thread and long after the
 * file was closed. A folio of the program's own is filled with a label of its own and checked before it
 * goes, and once more in its release on the reaper.
 *
 * Late getters (a get of a descriptor that was found some time ago, and a put) come all the time. They are what
 * the look-up's steps 1 to 4 amount to when the look-up is slow, and they make every thread a releaser of
 * anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <folio/cache.h>

#include "backend.h"
#include "cache.h"
#include "torture.h"

enum count {
	COUNT_READS,
	COUNT_READ_BYTES,
	COUNT_PINS,
	COUNT_PINS_PASSED, /* put by another thread */
	COUNT_PRIVATE,
	COUNT_LATE_GETS,
	COUNT_LATE_GETS_FAILED,
	COUNT_LATE_RELEASES,
	COUNT_PREFETCHES,
	COUNT_INVALIDATIONS,
	COUNT_CHANGES, /* found by revalidation or by open */
	COUNT_RESIZES,
	COUNT_APPENDS,
	COUNT_OPENS,
	COUNT_NO_MEMORY,
	COUNT_WOULD_BLOCK,
	COUNT_IO_ERRORS,
};

static const char *const count_names[] = {"reads", "bytes read", "pins", "pins passed on",
	"private folios", "late gets", "late gets, failed", "releases by late getters",
	"prefetches", "invalidations", "changes found by revalidation", "resizes", "appends",
	"opens", "out of memory", "would block", "errors of injected failures", NULL};

enum { HISTOGRAM_COPY, HISTOGRAM_PIN, HISTOGRAM_AGE };

static const char *const histogram_names[] = {"copies: generations behind at the end of the call",
	"pins: generations behind at the end of the call", "pins: generations behind when put",
	NULL};

#define HANDLES       3
#define PINS          4
#define EXCHANGE      8
#define BUFFER_PAGES  16
#define FILES         8
#define FILE_BREATHES (FILES - 1)

struct handle {
	struct folio_file *file;
	struct file *of;
};

struct pin {
	struct folio *folio;
	/* A page of a file, and how many of its bytes are contents; the rest is zeros. */
	const struct file *of;
	uint64_t index;
	uint64_t generation;
	size_t contents;
};

/* A folio of the program's own. It is the folio's owner, so that each life has another. */
struct private
{
	struct folio *folio;
	struct label label; /* of its first page */
	unsigned type;      /* of the two below; TYPES: FOLIO_TYPE_PRIVATE */
	folio_u32 held;
};

struct own {
	struct handle handle[HANDLES];
	struct pin pin[PINS];
	struct private *private;
	char buffer[BUFFER_PAGES * FOLIO_PAGE_SIZE] __attribute__((aligned(64)));
};

#define TYPES 2

static struct folio_cache *cache;
static struct handle shared[2];
static folio_u64 *lives; /* by descriptor */
static folio_ptr exchange[EXCHANGE];
static folio_u64 private_generation;
static folio_u64 private_pages, kept_pages;
static _Thread_local bool is_worker;
static unsigned type_number[TYPES];
static folio_u64 type_taken[TYPES], type_released[TYPES];

/* Read before the cache is closed. */
static struct folio_cache_stats stats;
static uint64_t lives_begun;

static folio_u64 *life(const void *object)
{
	uintptr_t at = (uintptr_t)object - (uintptr_t)cache->pool.folios;

	return at / sizeof(struct folio) < cache->pool.pages ? &lives[at / sizeof(struct folio)]
							     : NULL;
}

/* ---- what may be seen ---- */

#define VIEW_REGIONS (BUFFER_PAGES / REGION_PAGES + 2)

/* Of a few regions of a file, before a call. */
struct view {
	const struct file *of;
	uint64_t resizes, size;
	uint64_t first; /* region */
	unsigned regions;
	uint64_t oldest[VIEW_REGIONS];
};

static void view(struct view *seen, const struct file *of, uint64_t index, uint64_t last)
{
	unsigned i;

	seen->of = of;
	seen->first = index / REGION_PAGES;
	seen->regions = 0;
	/* acquire: the change that raised it is seen by the call. */
	for (i = 0; i < VIEW_REGIONS && seen->first + i < of->regions &&
		    seen->first + i <= last / REGION_PAGES;
		i++)
		seen->oldest[seen->regions++] = folio_u64_load_acquire(&of->done[seen->first + i]);
	seen->resizes = folio_u64_load_acquire(&of->resizes);
	seen->size = folio_u64_load_acquire(&of->size);
}

/* The size was seen->size from before the call until now. */
static bool size_stands(const struct view *seen)
{
	/* Not before the loads of the call: those are acquires, or checked behind one. */
	return !(seen->resizes & 1) && folio_u64_load_acquire(&seen->of->resizes) == seen->resizes;
}

static uint64_t now_of(const struct file *of, uint64_t index)
{
	return folio_u64_load_acquire(&of->now[index / REGION_PAGES]);
}

static uint64_t oldest_of(const struct view *seen, uint64_t index)
{
	uint64_t region = index / REGION_PAGES;

	/* A region that was not asked for: nothing is known. */
	return region >= seen->first && region - seen->first < seen->regions
		       ? seen->oldest[region - seen->first]
		       : 0;
}

static bool all_zero(const char *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (data[i])
			return false;
	return true;
}

static void wrong(const char *how, const struct view *seen, uint64_t index, size_t offset,
	const struct label *found, enum violation kind)
{
	violation(kind,
		"%s of file %u page %lu byte %zu (oldest %lu, now %lu): file %u page %lu "
		"generation %lu",
		how, seen->of->number, (unsigned long)index, offset,
		(unsigned long)oldest_of(seen, index), (unsigned long)now_of(seen->of, index),
		found->file, (unsigned long)found->index, (unsigned long)found->generation);
}

/* After @good bytes something else comes: say what, by the next whole word. */
static void torn(const char *how, const struct view *seen, uint64_t index, const char *data,
	size_t offset, size_t len, size_t good, const struct label *first)
{
	size_t at = good + (8 - (offset + good) % 8) % 8;
	struct label second = {0};
	uint64_t word = 0;
	bool known = false;

	if (at + 8 <= len) {
		memcpy(&word, data + at, 8);
		known = label_of(word - (offset + at) / 8 * PLACE, &second);
	}
	violation(VIOLATION_TORN,
		"%s of file %u page %lu, %zu bytes from byte %zu (oldest %lu, now %lu): generation "
		"%lu, then from byte %zu "
		"%s word %#lx: file %u page %lu generation %lu",
		how, seen->of->number, (unsigned long)index, len, offset,
		(unsigned long)oldest_of(seen, index), (unsigned long)now_of(seen->of, index),
		(unsigned long)first->generation, offset + good, known ? "a known" : "an unknown",
		(unsigned long)word, second.file, (unsigned long)second.index,
		(unsigned long)second.generation);
}

/*
 * The same while the size was changing: a read that came to the end and found the file grown goes on, so contents of one
 * generation may be followed by those of another, and where the end was there may be zeros behind it.
 */
static uint64_t check_moving(const char *how, const struct view *seen, uint64_t index,
	const char *data, size_t offset, size_t len)
{
	struct label label = {seen->of->number, index, 0};
	uint64_t now = now_of(seen->of, index), first = UINT64_MAX, generation, best;
	unsigned pieces = 0;
	size_t at, n, most;

	for (at = 0; at < len && !all_zero(data + at, len - at); at += most) {
		for (most = 0, best = 0, generation = oldest_of(seen, index); generation <= now;
			generation++) {
			label.generation = generation;
			n = label_check(data + at, offset + at, len - at, label);
			if (n > most) {
				most = n;
				best = generation;
			}
		}
		if (most == 0 || pieces++ == 3) {
			label.generation = first == UINT64_MAX ? 0 : first;
			torn(how, seen, index, data, offset, len, at, &label);
			break;
		}
		if (at == 0)
			first = best;
	}
	return first;
}

/*
 * Check @len bytes of page @index from @offset in it; the first @contents of them are contents, the rest has to be
 * zero. @strict: the size stood throughout. Returns the generation, or UINT64_MAX where there was nothing to tell it by.
 */
static uint64_t check_page(const char *how, const struct view *seen, uint64_t index,
	const char *data, size_t offset, size_t len, size_t contents, bool strict)
{
	const struct file *of = seen->of;
	struct label label = {0};
	uint64_t oldest = oldest_of(seen, index), now = now_of(of, index), word;
	size_t whole = (8 - offset % 8) % 8, good;

	if (!all_zero(data + contents, len - contents))
		wrong(how, seen, index, offset + contents, &label, VIOLATION_ZERO);
	if (!contents)
		return UINT64_MAX;
	if (!strict)
		return check_moving(how, seen, index, data, offset, contents);
	if (whole + 8 <= contents) {
		memcpy(&word, data + whole, 8);
		if (!label_of(word - (offset + whole) / 8 * PLACE, &label)) {
			wrong(how, seen, index, offset, &label,
				all_zero(data, contents) ? VIOLATION_ZERO : VIOLATION_GARBAGE);
			return UINT64_MAX;
		}
	} else {
		/* Too short to be undone: some generation has to fit. */
		label = (struct label){of->number, index, now};
		while (label_check(data, offset, contents, label) < contents &&
			label.generation > oldest)
			label.generation--;
	}
	if (label.file != of->number || label.index != index) {
		wrong(how, seen, index, offset, &label,
			label.file != of->number ? VIOLATION_FOREIGN_FILE
						 : VIOLATION_FOREIGN_INDEX);
		return UINT64_MAX;
	}
	good = label_check(data, offset, contents, label);
	if (good < contents)
		torn(how, seen, index, data, offset, contents, good, &label);
	if (label.generation < oldest)
		wrong(how, seen, index, offset, &label, VIOLATION_STALE);
	if (label.generation > now)
		wrong(how, seen, index, offset, &label, VIOLATION_FUTURE);
	return label.generation;
}

/* Errors that are nobody's fault. */
static bool error_allowed(struct worker *worker, ssize_t r, bool nowait)
{
	switch (r) {
	case -ENOMEM:
		worker_add(worker, COUNT_NO_MEMORY, 1);
		return true;
	case -EAGAIN:
		worker_add(worker, COUNT_WOULD_BLOCK, 1);
		return nowait;
	case -EIO:
		worker_add(worker, COUNT_IO_ERRORS, 1);
		return backend_fails();
	default:
		return false;
	}
}

/* ---- reading ---- */

static struct handle *any_handle(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i = (unsigned)rng_below(&worker->rng, HANDLES + 1);

	return i < HANDLES ? &own->handle[i] : &shared[rng_below(&worker->rng, 2)];
}

/* A page of a file that has one; now and then the last. Hot pages are few. */
static uint64_t any_page(struct worker *worker, const struct file *of)
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

/* A read of @len bytes at @offset that gave @r. @seen: from before it began. Returns @r. */
static ssize_t read_judged(struct worker *worker, const struct handle *handle,
	const struct view *seen, const char *buffer, uint64_t offset, size_t len, bool nowait,
	ssize_t r)
{
	const struct file *of = handle->of;
	size_t expected, done, at;
	bool strict = size_stands(seen);

	worker_add(worker, COUNT_READS, 1);
	if (r < 0) {
		if (!error_allowed(worker, r, nowait))
			violation(VIOLATION_RESULT, "a read of file %u at %lu gave %zd", of->number,
				(unsigned long)offset, r);
		return r;
	}
	done = (size_t)r;
	worker_add(worker, COUNT_READ_BYTES, done);
	if (done > len) {
		violation(VIOLATION_RESULT, "a read of %zu bytes of file %u gave %zu", len,
			of->number, done);
		return r;
	}
	expected = offset >= seen->size ? 0 : len < seen->size - offset ? len : seen->size - offset;
	/* Some bytes and then an error are fewer bytes. */
	if (strict && done != expected &&
		(done > expected || done == 0 || (offset + done) % FOLIO_PAGE_SIZE != 0))
		violation(VIOLATION_RESULT, "a read of %zu bytes of file %u at %lu gave %zu of %zu",
			len, of->number, (unsigned long)offset, done, expected);
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

/* Short reads, most of them, of any places, so that some are hits and some are not. */
static void op_read_batch(struct worker *worker)
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
		violation(VIOLATION_RESULT, "a batch of file %u gave %d", handle->of->number, r);
		return;
	}
	for (i = 0; i < count; i++)
		read_judged(worker, handle, &seen[i], reads[i].buf, reads[i].offset, reads[i].len,
			nowait, reads[i].result);
}

static void op_read_short(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	uint64_t page = any_page(worker, handle->of);
	size_t len = rng_one_in(&worker->rng, 2) ? 64 : 1 + rng_below(&worker->rng, 128);

	read_checked(worker, handle,
		page * FOLIO_PAGE_SIZE + rng_below(&worker->rng, FOLIO_PAGE_SIZE), len,
		rng_one_in(&worker->rng, 8));
}

static void op_read_long(struct worker *worker)
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

/* In sequence, so that large folios are read ahead. */
static void op_scan(struct worker *worker)
{
	struct handle *handle = any_handle(worker);
	uint64_t offset = any_page(worker, handle->of) * FOLIO_PAGE_SIZE;
	size_t len = rng_one_in(&worker->rng, 2) ? FOLIO_PAGE_SIZE : 3000;
	unsigned times = 8 + (unsigned)rng_below(&worker->rng, 64);
	ssize_t n;

	while (times-- > 0 && (n = read_checked(worker, handle, offset, len, false)) > 0)
		offset += (uint64_t)n;
}

/* ---- pinning ---- */

static void pin_check(const struct pin *pin)
{
	struct label label = {pin->of->number, pin->index, pin->generation}, found = {0};
	const char *data = folio_page(pin->folio, pin->index);
	size_t good = label_check(data, 0, pin->contents, label);

	if (good == pin->contents && all_zero(data + good, FOLIO_PAGE_SIZE - good))
		return;
	label_of(*(const uint64_t *)data, &found);
	violation(VIOLATION_HELD_CHANGED,
		"pinned file %u page %lu generation %lu, byte %zu: now file %u page %lu generation "
		"%lu",
		pin->of->number, (unsigned long)pin->index, (unsigned long)pin->generation, good,
		found.file, (unsigned long)found.index, (unsigned long)found.generation);
}

/*
 * A pin that is kept keeps all of its folio. Together they leave most of the budget alone, so that running out of memory
 * stays rare. False: not this one.
 */
static bool pin_keep(const struct pin *pin)
{
	uint64_t pages = UINT64_C(1) << folio_order(pin->folio);

	if (folio_u64_fetch_add_relaxed(&kept_pages, pages) + pages <= options.budget / 3)
		return true;
	folio_u64_fetch_sub_relaxed(&kept_pages, pages);
	return false;
}

static void pin_put(struct worker *worker, struct pin *pin, bool kept)
{
	struct folio *folio = pin->folio;

	pin_check(pin);
	if (kept)
		folio_u64_fetch_sub_relaxed(&kept_pages, UINT64_C(1) << folio_order(folio));
	histogram_add(
		&worker->histogram[HISTOGRAM_AGE], now_of(pin->of, pin->index) - pin->generation);
	pin->folio = NULL;
	folio_put(folio);
}

/* Pin a page and check it, and another page of a larger folio. False when there is nothing to hold. */
static bool pin_get(struct worker *worker, struct handle *handle, uint64_t index, struct pin *pin)
{
	const struct file *of = handle->of;
	unsigned flags = rng_one_in(&worker->rng, 8) ? FOLIO_GET_NOWAIT : 0;
	uint64_t other, start;
	struct view seen;
	size_t contents;
	bool strict;
	int r;

	view(&seen, of, index, index);
	r = folio_file_get(handle->file, index, flags, &pin->folio);
	strict = size_stands(&seen);
	if (r) {
		pin->folio = NULL;
		if (!error_allowed(worker, r, flags) &&
			!(r == -ENODATA && (!strict || index * FOLIO_PAGE_SIZE >= seen.size)))
			violation(VIOLATION_RESULT, "a get of file %u page %lu gave %d", of->number,
				(unsigned long)index, r);
		return false;
	}
	worker_add(worker, COUNT_PINS, 1);
	pin->of = of;
	pin->index = index;
	start = folio_index(pin->folio);
	if (start > index || index - start >= UINT64_C(1) << folio_order(pin->folio)) {
		violation(VIOLATION_FOREIGN_INDEX,
			"a get of file %u page %lu gave %lu pages from %lu", of->number,
			(unsigned long)index, 1ul << folio_order(pin->folio), (unsigned long)start);
		folio_put(pin->folio);
		return false;
	}
	contents = seen.size - index * FOLIO_PAGE_SIZE < FOLIO_PAGE_SIZE
			   ? seen.size - index * FOLIO_PAGE_SIZE
			   : FOLIO_PAGE_SIZE;
	if (!strict) {
		/* The end may be anywhere. What is there is what has to stay. */
		const char *data = folio_page(pin->folio, index);

		for (contents = FOLIO_PAGE_SIZE; contents > 0 && !data[contents - 1];)
			contents--;
	}
	pin->generation = check_page("pin", &seen, index, folio_page(pin->folio, index), 0,
		FOLIO_PAGE_SIZE, contents, strict);
	if (pin->generation == UINT64_MAX) {
		folio_put(pin->folio);
		return false;
	}
	pin->contents = label_check(folio_page(pin->folio, index), 0, FOLIO_PAGE_SIZE,
		(struct label){of->number, index, pin->generation});
	histogram_add(&worker->histogram[HISTOGRAM_PIN], now_of(of, index) - pin->generation);
	other = start + rng_below(&worker->rng, UINT64_C(1) << folio_order(pin->folio));
	if (other != index && strict && (other + 1) * FOLIO_PAGE_SIZE <= seen.size &&
		!(all_zero(folio_page(pin->folio, other), FOLIO_PAGE_SIZE) &&
			backend_denied(of, other, oldest_of(&seen, other))))
		check_page("pin beside", &seen, other, folio_page(pin->folio, other), 0,
			FOLIO_PAGE_SIZE, FOLIO_PAGE_SIZE, true);
	return true;
}

static void op_pin(struct worker *worker, bool keep)
{
	struct own *own = worker->own;
	struct handle *handle = any_handle(worker);
	struct pin pin;

	if (!pin_get(worker, handle, any_page(worker, handle->of), &pin))
		return;
	if (rng_one_in(&worker->rng, 4)) {
		folio_get(pin.folio);
		pause_here(NULL);
		folio_put(pin.folio);
	}
	if (keep && pin_keep(&pin)) {
		struct pin *to = &own->pin[rng_below(&worker->rng, PINS)];

		if (to->folio)
			pin_put(worker, to, true);
		*to = pin;
	} else {
		pause_here(NULL);
		pin_put(worker, &pin, false);
	}
}

static void op_put(struct worker *worker)
{
	struct own *own = worker->own;
	struct pin *from = &own->pin[rng_below(&worker->rng, PINS)];

	if (from->folio)
		pin_put(worker, from, true);
}

/* Another thread is to put it, or nobody for a while; what another thread left there is put here. */
static void op_pass(struct worker *worker)
{
	struct own *own = worker->own;
	struct pin *from = &own->pin[rng_below(&worker->rng, PINS)], *pin = NULL;
	folio_ptr *at = &exchange[rng_below(&worker->rng, EXCHANGE)];
	void *theirs;

	if (from->folio) {
		pin = malloc(sizeof(*pin));
		if (!pin)
			return;
		*pin = *from;
		from->folio = NULL;
	}
	theirs = folio_ptr_load_relaxed(at);
	while (!folio_ptr_cas_acq_rel(at, &theirs, pin))
		continue;
	if (!theirs)
		return;
	pin_put(worker, theirs, true);
	free(theirs);
	worker_add(worker, COUNT_PINS_PASSED, 1);
}

/* A get of what may be anything by now. */
static void op_late(struct worker *worker)
{
	struct folio *folio = rng_one_in(&worker->rng, 2) ? pause_stalled(&worker->rng) : NULL;

	if (!folio)
		folio = &cache->pool.folios[rng_below(&worker->rng, cache->pool.pages)];
	if (!folio_ref_try_get(&folio->ref)) {
		worker_add(worker, COUNT_LATE_GETS_FAILED, 1);
		return;
	}
	worker_add(worker, COUNT_LATE_GETS, 1);
	pause_here(NULL);
	if (folio_ref_put(&folio->ref)) {
		worker_add(worker, COUNT_LATE_RELEASES, 1);
		folio_release(folio);
	}
}

/* ---- a program's own folios ---- */

static bool private_good(const struct private *private, const struct folio *folio)
{
	struct label label = private->label;
	unsigned page;

	for (page = 0; page < 1u << folio_order(folio); page++, label.index++)
		if (label_check((char *)folio_data(folio) + page * FOLIO_PAGE_SIZE, 0,
			    FOLIO_PAGE_SIZE, label) < FOLIO_PAGE_SIZE)
			return false;
	return true;
}

/* On the reaper, and never on a thread that put. @context: which type. */
static void released(struct folio *folio, void *context)
{
	unsigned type = (unsigned)((folio_u64 *)context - type_released);
	struct private *private = folio_owner(folio);

	if (is_worker)
		violation(VIOLATION_PRIVATE_RELEASE,
			"folio %p is released by a thread of the program", (void *)folio);
	else if (private->folio != folio || private->type != type)
		violation(VIOLATION_PRIVATE_RELEASE,
			"folio %p is released as type %u, it is %p of type %u", (void *)folio, type,
			(void *)private->folio, private->type);
	else if (folio_u32_load_acquire(&private->held))
		violation(VIOLATION_PRIVATE_RELEASE, "folio %p is released while it is held",
			(void *)folio);
	else if (!private_good(private, folio))
		violation(VIOLATION_PRIVATE, "folio %p is not as it was left when released",
			(void *)folio);
	folio_u64_fetch_add_relaxed(context, 1);
	pause_here(NULL);
	free(private);
}

static void private_put(struct private *private)
{
	struct folio *folio = private->folio;
	bool reaped = private->type < TYPES;

	if (!private_good(private, folio))
		violation(VIOLATION_PRIVATE, "folio %p is not as it was left", (void *)folio);
	folio_u64_fetch_sub_relaxed(&private_pages, UINT64_C(1) << folio_order(folio));
	folio_u32_store_release(&private->held, 0);
	/* With the put it may be gone. */
	folio_put(folio);
	if (!reaped)
		free(private);
}

static void op_private(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned order = rng_one_in(&worker->rng, 8) ? (unsigned)rng_below(&worker->rng, 4) : 0,
		 page;
	uint64_t pages = UINT64_C(1) << order;
	struct private *private;
	struct label label;
	unsigned type;
	int r;

	if (own->private) {
		private_put(own->private);
		own->private = NULL;
		return;
	}
	if (folio_u64_fetch_add_relaxed(&private_pages, pages) + pages > options.budget / 6)
		goto none;
	private = calloc(1, sizeof(*private));
	if (!private)
		goto none;
	type = (unsigned)rng_below(&worker->rng, TYPES + 1);
	private->type = type;
	private->label = (struct label){FILE_PRIVATE, rng_below(&worker->rng, INDEX_MAX - 16),
		folio_u64_fetch_add_relaxed(&private_generation, 1)};
	folio_u32_store_relaxed(&private->held, 1);
	r = folio_alloc(cache, order, type < TYPES ? type_number[type] : FOLIO_TYPE_PRIVATE,
		private, &private->folio);
	if (r) {
		free(private);
		if (!error_allowed(worker, r, false))
			violation(VIOLATION_RESULT, "folio_alloc of order %u gave %d", order, r);
		goto none;
	}
	folio_u64_fetch_add_relaxed(life(private->folio), 1);
	if (type < TYPES)
		folio_u64_fetch_add_relaxed(&type_taken[type], 1);
	for (page = 0, label = private->label; page < pages; page++, label.index++)
		label_fill((char *)folio_data(private->folio) + page * FOLIO_PAGE_SIZE,
			FOLIO_PAGE_SIZE, label);
	worker_add(worker, COUNT_PRIVATE, 1);
	if (rng_one_in(&worker->rng, 2))
		own->private = private;
	else
		private_put(private);
	return;
none:
	folio_u64_fetch_sub_relaxed(&private_pages, pages);
}

/* ---- changing files ---- */

#define CHANGED_MAX 64

/* Steps 1 and 3 of backend.h for some regions. */
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
	/* What is read meanwhile may still be old. */
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

static void op_invalidate(struct worker *worker)
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
		violation(VIOLATION_RESULT, "an invalidation of file %u gave %d", of->number, r);
	change_end(&change);
	worker_add(worker, COUNT_INVALIDATIONS, 1);
}

static void open_file(struct worker *worker, struct handle *handle, struct file *of)
{
	char path[BACKEND_PATH];
	int r;

	backend_path(path, of);
	r = folio_file_open(cache, path, O_RDONLY, 0, &handle->file);
	if (r) {
		violation(VIOLATION_RESULT, "an open of file %u gave %d", of->number, r);
		abort();
	}
	handle->of = of;
	if (worker)
		worker_add(worker, COUNT_OPENS, 1);
}

static void close_file(struct handle *handle)
{
	int r = folio_file_close(handle->file);

	if (r)
		violation(VIOLATION_RESULT, "a close of file %u gave %d", handle->of->number, r);
}

/* The whole file changes; the system says so by its time, and the cache finds out when it asks. */
static void op_change(struct worker *worker)
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
			violation(VIOLATION_RESULT, "a revalidation of file %u gave %d", of->number,
				r);
	} else {
		struct handle other;

		open_file(worker, &other, of);
		close_file(handle);
		*handle = other;
	}
	change_end(&change);
	worker_add(worker, COUNT_CHANGES, 1);
}

/* The file whose size changes, by a handle of one's own; NULL when the worker has none. */
static struct handle *breathing(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i;

	for (i = 0; i < HANDLES; i++)
		if (own->handle[i].of->breathes)
			return &own->handle[i];
	return NULL;
}

/* New contents and a new size; the cache finds out by the time of change. */
static void resize(struct worker *worker, struct handle *handle)
{
	struct file *of = handle->of;
	uint64_t size = rng_below(&worker->rng, of->pages_max * FOLIO_PAGE_SIZE + 1);
	struct change change;
	int r;

	change_begin(&change, of, 0, of->regions);
	folio_u64_store_release(&of->size, size);
	/* Whoever meets the end meanwhile asks for it himself. */
	pause_often();
	folio_u64_fetch_add_release(&of->mtime, 1);
	r = folio_file_revalidate(handle->file);
	if (r < 0)
		violation(VIOLATION_RESULT, "a revalidation of file %u gave %d", of->number, r);
	change_end(&change);
	worker_add(worker, COUNT_RESIZES, 1);
}

/* More behind the end, and nothing says so: who reads at the end finds out. */
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
			"a read at the old end %lu of file %u, which ends at %lu now, gave %zd",
			(unsigned long)end, of->number, (unsigned long)size, r);
	worker_add(worker, COUNT_APPENDS, 1);
}

static void op_size(struct worker *worker)
{
	struct handle *handle = breathing(worker);
	struct file *of;

	if (!handle || handle->of->regions > CHANGED_MAX)
		return;
	of = handle->of;
	pthread_mutex_lock(&of->resize_lock);
	/* What follows are releases: who sees any of it sees the odd number. */
	folio_u64_fetch_add_relaxed(&of->resizes, 1);
	if (rng_one_in(&worker->rng, 4))
		resize(worker, handle);
	else
		append(worker, handle);
	folio_u64_fetch_add_release(&of->resizes, 1);
	pthread_mutex_unlock(&of->resize_lock);
}

static void op_reopen(struct worker *worker)
{
	struct own *own = worker->own;
	struct handle *handle = &own->handle[rng_below(&worker->rng, HANDLES)];

	close_file(handle);
	open_file(worker, handle, backend_file((unsigned)rng_below(&worker->rng, FILES)));
	folio_file_advise(handle->file, (enum folio_advice)rng_below(&worker->rng, 3));
}

static void op_prefetch(struct worker *worker)
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
		violation(
			VIOLATION_RESULT, "a prefetch of file %u gave %zd", handle->of->number, r);
	worker_add(worker, COUNT_PREFETCHES, 1);
}

static void cache_operation(struct worker *worker)
{
	uint64_t choice = rng_below(&worker->rng, 1024);

	if (choice < 384)
		op_read_short(worker);
	else if (choice < 400)
		op_read_batch(worker);
	else if (choice < 480)
		op_read_long(worker);
	else if (choice < 488)
		op_scan(worker);
	else if (choice < 620)
		op_pin(worker, false);
	else if (choice < 670)
		op_pin(worker, true);
	else if (choice < 700)
		op_put(worker);
	else if (choice < 715)
		op_pass(worker);
	else if (choice < 850)
		op_late(worker);
	else if (choice < 950)
		op_private(worker);
	else if (choice < 965)
		op_prefetch(worker);
	else if (choice < 1005)
		op_invalidate(worker);
	else if (choice < 1010)
		op_change(worker);
	else if (choice < 1015)
		op_size(worker);
	else
		op_reopen(worker);
}

/* ---- beginning and end ---- */

static int cache_open(void)
{
	static const char *const type_name[TYPES] = {"a", "b"};
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = options.budget * FOLIO_PAGE_SIZE,
		.io = &backend_ops,
		.readahead = options.budget * FOLIO_PAGE_SIZE / 8};
	const uint64_t bytes[FILES] = {
		137,
		3 * FOLIO_PAGE_SIZE,
		options.budget * FOLIO_PAGE_SIZE / 8 + 1,
		options.budget * FOLIO_PAGE_SIZE / 4 - 1,
		options.budget * FOLIO_PAGE_SIZE / 2,
		options.budget * FOLIO_PAGE_SIZE + 1000,
		2 * options.budget * FOLIO_PAGE_SIZE,
		options.budget * FOLIO_PAGE_SIZE / 3,
	};
	unsigned i;
	int r;

	folio_u64_store_relaxed(&private_pages, 0);
	folio_u64_store_relaxed(&kept_pages, 0);
	r = backend_open_files(FILES, bytes, true);
	if (r)
		return r;
	backend_file(FILE_BREATHES)->breathes = true;
	r = folio_cache_open(&params, &cache);
	if (r)
		return r;
	lives = calloc(cache->pool.pages, sizeof(*lives));
	if (!lives)
		return -ENOMEM;
	for (i = 0; i < TYPES; i++) {
		struct folio_type_params type = {.size = sizeof(type),
			.name = type_name[i],
			.release = released,
			.context = &type_released[i]};

		folio_u64_store_relaxed(&type_taken[i], 0);
		folio_u64_store_relaxed(&type_released[i], 0);
		r = folio_type_register(cache, &type, &type_number[i]);
		if (r)
			return r;
	}
	/* These stay open; of the others nobody may have a handle for a while, and all goes. */
	open_file(NULL, &shared[0], backend_file(2));
	open_file(NULL, &shared[1], backend_file(FILES - 2));
	return 0;
}

static void cache_begin(struct worker *worker)
{
	struct own *own = aligned_alloc(64, sizeof(*own));
	unsigned i;

	if (!own)
		abort();
	memset(own, 0, sizeof(*own));
	worker->own = own;
	is_worker = true;
	for (i = 0; i < HANDLES; i++)
		open_file(worker, &own->handle[i], backend_file((worker->number + 3 * i) % FILES));
}

static void cache_end(struct worker *worker)
{
	struct own *own = worker->own;
	unsigned i;

	for (i = 0; i < PINS; i++)
		if (own->pin[i].folio)
			pin_put(worker, &own->pin[i], true);
	if (own->private)
		private_put(own->private);
	for (i = 0; i < HANDLES; i++)
		close_file(&own->handle[i]);
	free(own);
}

static void cache_close(void)
{
	static struct worker nobody;
	unsigned i;
	int r;

	for (i = 0; i < EXCHANGE; i++) {
		struct pin *pin = folio_ptr_exchange_acquire(&exchange[i], NULL);

		if (pin)
			pin_put(&nobody, pin, true);
		free(pin);
	}
	close_file(&shared[0]);
	close_file(&shared[1]);
	stats = (struct folio_cache_stats){.size = sizeof(stats)};
	r = folio_cache_stats(cache, &stats);
	if (r)
		violation(VIOLATION_RESULT, "folio_cache_stats gave %d", r);
	for (i = 0, lives_begun = 0; i < cache->pool.pages; i++)
		lives_begun += folio_u64_load_relaxed(&lives[i]);
	r = folio_cache_close(cache);
	if (r) {
		folio_cache_stats(cache, &stats);
		violation(VIOLATION_LEAK,
			"folio_cache_close gave %d: %lu pages, %lu free, %lu of files, %lu private",
			r, (unsigned long)stats.pages, (unsigned long)stats.pages_free,
			(unsigned long)stats.pages_file, (unsigned long)stats.pages_private);
	}
	if (backend_handles())
		violation(VIOLATION_LEAK, "%lu handles are open", (unsigned long)backend_handles());
	for (i = 0; i < TYPES; i++)
		if (folio_u64_load_relaxed(&type_taken[i]) !=
			folio_u64_load_relaxed(&type_released[i]))
			violation(VIOLATION_PRIVATE_RELEASE,
				"of type %u %lu folios were taken, %lu released", i,
				(unsigned long)folio_u64_load_relaxed(&type_taken[i]),
				(unsigned long)folio_u64_load_relaxed(&type_released[i]));
	free(lives);
	backend_close_files();
}

static unsigned cache_more(const char **name, uint64_t *value)
{
	const struct {
		const char *name;
		uint64_t value;
	} more[] = {
		{"lives", lives_begun},
		{"hits", stats.hits},
		{"misses", stats.misses},
		{"retries", stats.retries},
		{"fills", stats.fills},
		{"fills failed", stats.fill_errors},
		{"pages read ahead", stats.readahead_pages},
		{"pages prefetched", stats.prefetch_pages},
		{"pages evicted", stats.evictions},
		{"pages evicted by callers", stats.evictions_direct},
		{"evictions skipped", stats.evict_busy},
		{"refaults", stats.refaults},
		{"pages invalidated", stats.invalidations},
	};
	unsigned i;

	for (i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		name[i] = more[i].name;
		value[i] = more[i].value;
	}
	return i;
}

const struct mode mode_cache = {
	.name = "cache",
	.counts = count_names,
	.histograms = histogram_names,
	.open = cache_open,
	.begin = cache_begin,
	.operation = cache_operation,
	.end = cache_end,
	.close = cache_close,
	.more = cache_more,
	.life = life,
};
