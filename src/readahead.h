/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readahead.h - finds out sequential reading and keeps one window ahead of it.
 *
 * Looked at on misses and on the mark of a window only, never on a plain hit. A handle remembers a few places
 * where reading went on; a miss just there is a stream, and the window behind it doubles each time. A miss
 * elsewhere takes the oldest place: random reading never reads ahead.
 */
#ifndef FOLIO_SRC_READAHEAD_H
#define FOLIO_SRC_READAHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/cache.h>

#define STREAMS 8 /* places remembered for a handle: so many sequential readers may share it */

struct stream {
	uint64_t next;   /* page after the last one asked for; UINT64_MAX: none */
	uint64_t window; /* pages of the last window; 0: no stream yet */
};

struct streams {
	_Alignas(64) pthread_mutex_t lock;
	struct stream stream[STREAMS]; /* guarded by lock */
	uint32_t oldest;               /* guarded by lock */
	folio_u32 advice;              /* enum folio_advice */
};

/* What to read on a miss or at a mark. */
struct window {
	uint64_t demand_end; /* pages up to here were asked for */
	uint64_t end; /* pages up to here are to be read; mark at demand_end where end is beyond */
};

void streams_init(struct streams *streams);
void streams_destroy(struct streams *streams);

/* A miss of @pages pages at @index. max: the largest window, 0: none. */
struct window streams_miss(struct streams *streams, uint64_t index, uint64_t pages, uint64_t max);

/* The mark at @index was reached. Returns false when there is nothing to read ahead; else start .. end. */
bool streams_mark(
	struct streams *streams, uint64_t index, uint64_t max, uint64_t *start, uint64_t *end);

#endif
