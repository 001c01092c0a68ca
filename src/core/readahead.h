/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readahead.h - detect sequential reads and keep one window ahead of them.
 *
 * Runs on misses and on the mark of a window only, never on a plain hit. A handle remembers a few
 * positions at which a read ended. A miss exactly at one of them is a stream, and the window after
 * it doubles each time. A miss elsewhere replaces the oldest position, so random reads never cause
 * read-ahead.
 */
#ifndef FOLIO_SRC_CORE_READAHEAD_H
#define FOLIO_SRC_CORE_READAHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/cache.h>

#define STREAMS 8 /* positions per handle: this many sequential readers may share it */

struct stream {
	uint64_t next;   /* page after the last one requested; UINT64_MAX: none */
	uint64_t window; /* pages of the last window; 0: no stream yet */
};

struct streams {
	_Alignas(64) pthread_mutex_t lock;
	struct stream stream[STREAMS]; /* guarded by lock */
	uint32_t oldest;               /* guarded by lock */
	folio_u32 advice;              /* enum folio_advice */
};

/* Do the accesses through the handle leave the hot set unchanged? */
static inline bool streams_once(const struct streams *streams)
{
	return folio_u32_load_relaxed(&streams->advice) == FOLIO_ADVICE_ONCE;
}

/* What to read on a miss or at a mark. */
struct window {
	uint64_t demand_end; /* end of the pages requested */
	uint64_t end;        /* end of the pages to read; if larger, the mark is at demand_end */
};

void streams_init(struct streams *streams);
void streams_destroy(struct streams *streams);

/* A miss of @pages pages at @index. @max: pages of the largest window; 0 disables read-ahead. */
struct window streams_miss(struct streams *streams, uint64_t index, uint64_t pages, uint64_t max);

/*
 * A reader reached the mark at @index. Returns false if nothing is to be read ahead; else pages
 * *@start up to *@end, exclusive, are the next window.
 */
bool streams_mark(
	struct streams *streams, uint64_t index, uint64_t max, uint64_t *start, uint64_t *end);

#endif
