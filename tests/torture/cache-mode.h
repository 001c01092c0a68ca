/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache-mode.h - shared by the files of mode cache.
 *
 *   cache.c           the mode: choice of operations, begin and end
 *   cache-check.c     the oracle: which bytes, sizes and errors a reader may see
 *   cache-read.c      reads by copy and in place, prefetches
 *   cache-pin.c       pins, late getters
 *   cache-private.c   private folios, user-defined types
 *   cache-change.c    changes of files, opens and closes
 */
#ifndef TORTURE_CACHE_MODE_H
#define TORTURE_CACHE_MODE_H

#include <folio/cache.h>
#include <folio/peek.h>
#include <folio/pin.h>

#include "backend.h"
#include "cache/thread.h"
#include "torture.h"

enum count {
	COUNT_READS,
	COUNT_READ_BYTES,
	COUNT_PEEKS,
	COUNT_PEEKS_ENDED,
	COUNT_PINS,
	COUNT_PINS_PUBLISHED,
	COUNT_PINS_CONVERTED,
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

enum { HISTOGRAM_COPY, HISTOGRAM_PIN, HISTOGRAM_AGE };

#define HANDLES      3
#define PINS         4
#define EXCHANGE     8
#define BUFFER_PAGES 16
#define FILES        8
#define FILE_RESIZED (FILES - 1)

struct handle {
	struct folio_file *file;
	struct file *of;
};

struct pin {
	struct folio *folio;  /* that of the pin, or NULL: none */
	struct folio_pin pin; /* by count, or published */
	/* A page of a file. The first @contents bytes are contents, the rest is zeros. */
	const struct file *of;
	uint64_t index;
	uint64_t generation;
	size_t contents;
};

/* A private folio. This struct is the folio's owner, so each use of a folio has another owner. */
struct private
{
	struct folio *folio;
	struct label label; /* of its first page */
	unsigned type;      /* index of one of the program's types; TYPES: FOLIO_TYPE_PRIVATE */
	folio_u32 held;
};

struct own {
	struct handle handle[HANDLES];
	struct pin pin[PINS];
	struct private *private;
	char buffer[BUFFER_PAGES * FOLIO_PAGE_SIZE] __attribute__((aligned(64)));
};

#define TYPES 2

extern struct folio_cache *cache;
extern folio_u64 kept_pages;         /* of folios whose pins are kept */
extern folio_ptr exchange[EXCHANGE]; /* pins for another thread to put */
extern struct handle shared[2];
extern folio_u64 private_pages;
extern _Thread_local bool is_worker;
extern unsigned type_number[TYPES];
extern folio_u64 type_taken[TYPES], type_released[TYPES];

folio_u64 *cache_use_count(const void *object);

/* ---- checks (cache-check.c) ---- */

#define VIEW_REGIONS (BUFFER_PAGES / REGION_PAGES + 2)

/* The state of a few regions of a file before a call. */
struct view {
	const struct file *of;
	uint64_t resizes, size;
	uint64_t first; /* region */
	unsigned regions;
	uint64_t oldest[VIEW_REGIONS];
};

void view(struct view *seen, const struct file *of, uint64_t index, uint64_t last);
bool size_unchanged(const struct view *seen);
uint64_t now_of(const struct file *of, uint64_t index);
uint64_t oldest_of(const struct view *seen, uint64_t index);
bool all_zero(const char *data, size_t len);
uint64_t check_page(const char *how, const struct view *seen, uint64_t index, const char *data,
	size_t offset, size_t len, size_t contents, bool strict);
bool error_allowed(struct worker *worker, ssize_t r, bool nowait);

/* ---- reads (cache-read.c) ---- */

struct handle *any_handle(struct worker *worker);
uint64_t any_page(struct worker *worker, const struct file *of);
void op_read_batch(struct worker *worker);
void op_read_short(struct worker *worker);
void op_read_long(struct worker *worker);
void op_scan(struct worker *worker);
void op_peek(struct worker *worker);
void op_prefetch(struct worker *worker);

/* ---- pins (cache-pin.c) ---- */

void pin_put(struct worker *worker, struct pin *pin, bool kept);
void op_pin(struct worker *worker, bool keep);
void op_put(struct worker *worker);
void op_pass(struct worker *worker);
void op_late(struct worker *worker);

/* ---- private folios (cache-private.c) ---- */

void private_released(struct folio *folio, void *context);
void private_put(struct private *private);
void op_private(struct worker *worker);

/* ---- changes (cache-change.c) ---- */

void open_file(struct worker *worker, struct handle *handle, struct file *of);
void close_file(struct handle *handle);
void op_invalidate(struct worker *worker);
void op_change(struct worker *worker);
void op_size(struct worker *worker);
void op_reopen(struct worker *worker);

#endif
