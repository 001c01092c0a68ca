/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readahead.c - the streams of a handle.
 *
 *   miss where an earlier miss ended   a stream: a window after the request, marked at its start
 *   mark reached                       the next window, twice as large, marked at its start
 *
 * So the device reads one window while the program reads the one before it.
 */
#include "core/readahead.h"

/* The first window is WINDOW_FACTOR times the request or more, and at least WINDOW_MIN pages. */
#define WINDOW_MIN    16u
#define WINDOW_FACTOR 4u

void streams_init(struct streams *streams)
{
	unsigned i;

	pthread_mutex_init(&streams->lock, NULL);
	for (i = 0; i < STREAMS; i++)
		streams->stream[i] = (struct stream){.next = UINT64_MAX};
	streams->oldest = 0;
	folio_u32_store_relaxed(&streams->advice, FOLIO_ADVICE_NORMAL);
}

void streams_destroy(struct streams *streams)
{
	pthread_mutex_destroy(&streams->lock);
}

/* The stream that continues at @index, or whose last window contains it. The lock is held. */
static struct stream *find(struct streams *streams, uint64_t index)
{
	unsigned i;

	for (i = 0; i < STREAMS; i++) {
		struct stream *stream = &streams->stream[i];

		if (stream->next != UINT64_MAX && index <= stream->next &&
			stream->next - index <= stream->window)
			return stream;
	}
	return NULL;
}

/*
 * The size of the stream's next window, or of its first one for a request of @pages. A power of
 * two, as @max is (evict/resize.c): windows end at multiples of their size, where large folios fit.
 */
static uint64_t next_window(const struct stream *stream, uint64_t pages, uint64_t max)
{
	uint64_t window = stream->window * 2;

	if (!window)
		for (window = WINDOW_MIN; window < WINDOW_FACTOR * pages && window < max;)
			window *= 2;
	while (window > max)
		window /= 2;
	return window;
}

static uint64_t window_end(uint64_t start, uint64_t window)
{
	if (!window)
		return start;
	return (start + window) & ~(window - 1);
}

struct window streams_miss(struct streams *streams, uint64_t index, uint64_t pages, uint64_t max)
{
	struct window window = {.demand_end = index + pages, .end = index + pages};
	uint32_t advice = folio_u32_load_relaxed(&streams->advice);
	struct stream *stream;

	if (max == 0 || advice == FOLIO_ADVICE_RANDOM)
		return window;
	pthread_mutex_lock(&streams->lock);
	stream = find(streams, index);
	if (stream) {
		stream->window = next_window(stream, pages, max);
	} else {
		stream = &streams->stream[streams->oldest];
		streams->oldest = (streams->oldest + 1) % STREAMS;
		stream->window = 0;
		if (advice == FOLIO_ADVICE_SEQUENTIAL)
			stream->window = next_window(stream, max, max);
	}
	window.end = window_end(window.demand_end, stream->window);
	stream->next = window.end;
	pthread_mutex_unlock(&streams->lock);
	return window;
}

bool streams_mark(
	struct streams *streams, uint64_t index, uint64_t max, uint64_t *start, uint64_t *end)
{
	struct stream *stream;

	if (max == 0 || folio_u32_load_relaxed(&streams->advice) == FOLIO_ADVICE_RANDOM)
		return false;
	pthread_mutex_lock(&streams->lock);
	stream = find(streams, index);
	if (stream) {
		stream->window = next_window(stream, 1, max);
		*start = stream->next;
		*end = stream->next = window_end(stream->next, stream->window);
	}
	pthread_mutex_unlock(&streams->lock);
	return stream != NULL;
}
