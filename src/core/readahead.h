/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readahead.h - detect regular reading, and keep one window of pages ahead of it.
 *
 * Runs on misses and on the mark of a window only, never on a plain hit. A handle remembers misses,
 * and follows streams. A miss makes a stream of an earlier one if it continues it, or if the two
 * and a third are equally far apart: such a stream has gaps, or runs backward. A stream's window is
 * read ahead of its reader, and the window after it is twice as large, as far as its share goes.
 *
 * All streams of a cache share the pages that read-ahead may hold. A stream's share is the part
 * that it has in the pages which are used, in the time in which it used its last window: the stream
 * that takes longest for its window gets the smallest one. So a page that is read ahead is used
 * before it would be evicted, and streams too slow for that read nothing ahead.
 */
#ifndef FOLIO_SRC_CORE_READAHEAD_H
#define FOLIO_SRC_CORE_READAHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/cache.h>

#define STREAMS 64 /* streams that a handle follows, and misses that it remembers: of each */

struct stream; /* 64 bytes */

struct streams {
	_Alignas(64) pthread_mutex_t lock;
	/* Guarded by lock. */
	struct stream *stream; /* in the order of offsets; NULL before the first miss */
	uint32_t count;        /* streams, and misses that may become one */
	uint32_t followed;     /* of those, streams */
	uint32_t space;        /* there is memory for so many */
	uint32_t random;       /* state of the choice which one is replaced */
	uint8_t lasts[64];     /* of each power of two: whether streams of that length continue */
	folio_u32 advice;      /* atomic: enum folio_advice */
};

/* Do the accesses through the handle leave the hot set unchanged? */
static inline bool streams_once(const struct streams *streams)
{
	return folio_u32_load_relaxed(&streams->advice) == FOLIO_ADVICE_ONCE;
}

/* What the cache allows, and its clock. */
struct pace {
	uint64_t max;     /* pages of the largest window; 0: no read-ahead */
	uint64_t share;   /* pages: about as many as the last windows of all streams may have */
	folio_u64 *clock; /* pages that were used in the cache, by misses and by streams */
};

/* Pages to be read ahead: pieces at equal distances, in the order in which they are needed. */
struct ahead {
	uint64_t first; /* page at which the first piece begins */
	int64_t step;   /* pages from one piece to the next */
	uint64_t pages; /* of each piece */
	uint64_t count; /* pieces; 0: nothing is read ahead */
	uint64_t mark;  /* the reader that reaches this page starts the next window */
};

void streams_init(struct streams *streams);
void streams_destroy(struct streams *streams);

/*
 * A miss of @pages pages at @index, all of which the caller reads. Returns what is to be read ahead
 * of the next reads. If memory is short, that may be nothing.
 */
struct ahead streams_miss(
	struct streams *streams, uint64_t index, uint64_t pages, const struct pace *pace);

/* A reader reached the mark at @index: returns the next window. */
struct ahead streams_mark(struct streams *streams, uint64_t index, const struct pace *pace);

#endif
