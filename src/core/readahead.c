/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readahead.c - the streams of a handle.
 *
 *   miss where an earlier miss ended    a stream: a window after the request, marked at its start
 *   three misses at equal distances     a stream with gaps, or backward: likewise
 *   mark reached                        the next window, up to twice as large, marked at its start
 *   miss in a window                    its pages were evicted before they were used: the next
 *                                       window is half as large
 *
 * So the device reads one window while the program reads the one before it.
 *
 * Streams, and the misses that may become streams, are in one array in the order of offsets: a
 * binary search finds the neighbors of a miss, and only these are compared with it. If there is no
 * space, one of the same kind is replaced, chosen at random: with one stream too many, one is lost
 * for a time, and not each in turn just before it is needed.
 */
#include "core/readahead.h"

#include <stdlib.h>
#include <string.h>

/* The first window is a power of two: WINDOW_FACTOR times the request or more. */
#define WINDOW_FACTOR 4u
/* Misses that are further apart, in pages, are never taken for a stream with gaps. */
#define STEP_MAX      4096
/* Pieces of a window with gaps: each one is a request. */
#define PIECES_MAX    16u
/* streams->lasts: at most, and from which value on such streams are expected to continue. */
#define LASTS_MAX     3u
#define LASTS_YES     2u
/* The array's first size, in streams. It doubles up to 2 * STREAMS. */
#define SPACE_MIN     4u

/*
 * Positions are pages, and steps are signed: a backward stream has a negative one, and its @next is
 * below its @at. A sequential stream has steps of one page, whatever the size of its reads.
 */
struct stream {
	uint64_t at;     /* of a stream: its mark, or next if there is none; else the page missed */
	uint64_t next;   /* the first page or piece that was not requested yet */
	uint64_t begin;  /* the first one of all */
	uint64_t read;   /* the first one that was not used when the clock was read */
	uint64_t clock;  /* of pace, when the last window was requested */
	int64_t step;    /* from one piece to the next; of a miss: from its neighbor then, or 0 */
	uint64_t window; /* pages of the last window */
	uint32_t piece;  /* pages of a piece */
	uint8_t level;   /* the stream is longer than 2^level pieces */
	bool followed;   /* it is a stream */
};

_Static_assert(sizeof(struct stream) == 64, "the bound in docs/architecture.md");

void streams_init(struct streams *streams)
{
	pthread_mutex_init(&streams->lock, NULL);
	streams->stream = NULL;
	streams->count = streams->followed = streams->space = streams->random = 0;
	memset(streams->lasts, LASTS_MAX, sizeof(streams->lasts));
	folio_u32_store_relaxed(&streams->advice, FOLIO_ADVICE_NORMAL);
}

void streams_destroy(struct streams *streams)
{
	free(streams->stream);
	pthread_mutex_destroy(&streams->lock);
}

/* ---- numbers ---- */

/* The largest n with 2^n <= @x; @x > 0. */
static unsigned log2_floor(uint64_t x)
{
	return 63 - (unsigned)__builtin_clzll(x);
}

/* The smallest power of two that is not less than @x; @x > 0. */
static uint64_t power_of_two(uint64_t x)
{
	return x == 1 ? 1 : UINT64_C(2) << log2_floor(x - 1);
}

/* How many steps it is from @from to @to; negative: @to comes before. */
static int64_t steps(const struct stream *stream, uint64_t from, uint64_t to)
{
	return (int64_t)(to - from) / stream->step;
}

/* Are there pages between the pieces? */
static bool has_gaps(const struct stream *stream)
{
	return stream->step != 1 && -stream->step != stream->piece;
}

/* ---- the array; the lock is held ---- */

/* How many of the streams are at @index or below. */
static uint32_t rank(const struct streams *streams, uint64_t index)
{
	uint32_t low = 0, high = streams->count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (streams->stream[middle].at <= index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Remove stream, or miss, number @i. The length at which a stream has ended is remembered. */
static void take_out(struct streams *streams, uint32_t i)
{
	struct stream *stream = &streams->stream[i];
	uint64_t length;

	if (stream->followed) {
		/* Nothing shows that a reader has reached its mark, or the end of what it read. */
		length = (uint64_t)steps(stream, stream->begin, stream->at);
		if (length >> stream->level > 1 && streams->lasts[log2_floor(length)] > 0)
			streams->lasts[log2_floor(length)]--;
		streams->followed--;
	}
	streams->count--;
	memmove(stream, stream + 1, (streams->count - i) * sizeof(*stream));
}

/* One of the kind, the older of two that are chosen at random. There is one. */
static uint32_t choose(struct streams *streams, bool followed)
{
	uint32_t i, chosen = UINT32_MAX, seen = 0;

	streams->random = streams->random * 1664525 + 1013904223;
	i = (uint32_t)((uint64_t)streams->random * streams->count >> 32);
	for (; seen < 2; i = (i + 1) % streams->count) {
		const struct stream *stream = &streams->stream[i];

		if (stream->followed != followed)
			continue;
		if (i == chosen)
			break;
		if (chosen == UINT32_MAX || stream->clock < streams->stream[chosen].clock)
			chosen = i;
		seen++;
	}
	return chosen;
}

/* Make space for one more of the kind. Returns false if there is no memory for any. */
static bool make_space(struct streams *streams, bool followed)
{
	uint32_t have = followed ? streams->followed : streams->count - streams->followed, space;
	struct stream *larger;

	if (have < STREAMS && streams->count == streams->space) {
		space = streams->space ? 2 * streams->space : SPACE_MIN;
		larger = malloc(space * sizeof(*larger));
		if (larger) {
			if (streams->count)
				memcpy(larger, streams->stream, streams->count * sizeof(*larger));
			free(streams->stream);
			streams->stream = larger;
			streams->space = space;
		}
	}
	if (have == STREAMS || (streams->count && streams->count == streams->space))
		take_out(streams, choose(streams, have ? followed : !followed));
	return streams->count < streams->space;
}

/* Put @stream in its place. Returns where that is. */
static struct stream *put_in(struct streams *streams, const struct stream *stream)
{
	uint32_t i = rank(streams, stream->at);
	struct stream *at = &streams->stream[i];

	memmove(at + 1, at, (streams->count - i) * sizeof(*at));
	*at = *stream;
	streams->count++;
	streams->followed += stream->followed;
	return at;
}

/* @stream is at another page now: put it in its place. */
static void move(struct streams *streams, struct stream *stream)
{
	struct stream *first = streams->stream, *last = first + streams->count - 1;
	struct stream moved = *stream;

	for (; stream > first && stream[-1].at > moved.at; stream--)
		*stream = stream[-1];
	for (; stream < last && stream[1].at < moved.at; stream++)
		*stream = stream[1];
	*stream = moved;
}

/* ---- one stream; the lock is held ---- */

/*
 * The reader has used everything before @after. Returns the stream's part of what the windows of
 * all streams may have, in pages.
 */
static uint64_t share_of(struct stream *stream, uint64_t after, const struct pace *pace)
{
	int64_t pieces = steps(stream, stream->read, after);
	uint64_t used = pieces > 0 ? (uint64_t)pieces * stream->piece : 0;
	/* relaxed: a number. */
	uint64_t now = folio_u64_fetch_add_relaxed(pace->clock, used) + used;
	uint64_t share = stream->window;

	if (used) {
		share = pace->share * used / (now - stream->clock);
		stream->read = after;
		stream->clock = now;
	}
	return share;
}

/* Record that the stream has come up to @after. */
static void lengthen(struct streams *streams, struct stream *stream, uint64_t after)
{
	uint64_t length = (uint64_t)steps(stream, stream->begin, after);

	while ((length - 1) >> stream->level > 1) {
		stream->level++;
		if (streams->lasts[stream->level] < LASTS_MAX)
			streams->lasts[stream->level]++;
	}
}

/*
 * Do streams that have come to @start usually continue? One that does although they do not misses
 * there, and is longer than that.
 */
static bool usually_continues(
	const struct streams *streams, const struct stream *stream, uint64_t start)
{
	unsigned level = log2_floor((uint64_t)steps(stream, stream->begin, start));

	return level <= stream->level || streams->lasts[level] >= LASTS_YES ||
	       folio_u32_load_relaxed(&streams->advice) == FOLIO_ADVICE_SEQUENTIAL;
}

/*
 * The pages of the next window, after a request of @pages pages. A power of two if the stream is
 * sequential: windows end at multiples of their size, where large folios fit. Otherwise complete
 * pieces.
 */
static uint64_t next_window(
	const struct stream *stream, uint64_t pages, uint64_t most, uint64_t max)
{
	uint64_t piece = stream->step == 1 ? pages : stream->piece, window = 2 * stream->window;

	if (!window)
		window = WINDOW_FACTOR * piece;
	if (stream->step == 1)
		window = power_of_two(window);
	if (has_gaps(stream) && window > PIECES_MAX * piece)
		window = PIECES_MAX * piece;
	if (window > most)
		window = most;
	/* A share of less than a piece is of no use. */
	if (window < piece && window < max)
		return 0;
	if (stream->step == 1)
		return UINT64_C(1) << log2_floor(window);
	return window - window % piece;
}

/* Let the stream's window be the @window pages from @start on. Returns them. */
static struct ahead ahead_of(struct stream *stream, uint64_t start, uint64_t window)
{
	struct ahead ahead = {.first = start, .step = stream->step, .pages = stream->piece};

	stream->at = stream->next = start;
	if (!window)
		return ahead;
	ahead.mark = start;
	if (stream->step == 1) {
		stream->next = (start + window) & ~(window - 1);
		ahead.pages = stream->next - start;
		ahead.count = 1;
		return ahead;
	}
	ahead.count = window / stream->piece;
	if (stream->step < 0 && ahead.count > start / (uint64_t)-stream->step + 1)
		ahead.count = start / (uint64_t)-stream->step + 1;
	stream->next = start + ahead.count * (uint64_t)stream->step;
	if (!has_gaps(stream)) {
		ahead.first = stream->next + stream->piece;
		ahead.pages *= ahead.count;
		ahead.count = 1;
	}
	return ahead;
}

/*
 * The reader of a stream has come to @index: by a miss of @pages pages, all of which it reads now,
 * or at a mark. Returns the next window.
 */
static struct ahead follow(struct streams *streams, struct stream *stream, uint64_t index,
	uint64_t pages, bool missed, const struct pace *pace)
{
	uint64_t after = index + (stream->step == 1 ? pages : (uint64_t)stream->step);
	uint64_t start = missed || index == stream->next ? after : stream->next;
	uint64_t most = share_of(stream, after, pace), window = 0;
	struct ahead ahead = {.count = 0};

	lengthen(streams, stream, after);
	if (most > pace->max)
		most = pace->max;
	/* The last window was evicted before it was used. */
	if (missed && index != stream->next && most > stream->window / 2)
		most = stream->window / 2;
	if (usually_continues(streams, stream, start))
		stream->window = window = next_window(stream, pages, most, pace->max);
	/* Backward, and at the beginning of the file. */
	if ((int64_t)start < 0) {
		take_out(streams, (uint32_t)(stream - streams->stream));
		return ahead;
	}
	ahead = ahead_of(stream, start, window);
	move(streams, stream);
	return ahead;
}

/* ---- which stream it is; the lock is held ---- */

/* Does the stream continue at @index, or contain it in its last window? */
static bool has(const struct stream *stream, uint64_t index)
{
	int64_t distance = (int64_t)(index - stream->at);

	return stream->followed && distance % stream->step == 0 &&
	       steps(stream, stream->at, index) >= 0 && steps(stream, index, stream->next) >= 0;
}

/* The stream that has @index, or NULL. @n: the rank of @index. */
static struct stream *find(const struct streams *streams, uint64_t index, uint32_t n)
{
	if (n > 0 && has(&streams->stream[n - 1], index))
		return &streams->stream[n - 1];
	/* A backward one. */
	if (n < streams->count && has(&streams->stream[n], index))
		return &streams->stream[n];
	return NULL;
}

/*
 * The step of the stream that an earlier miss and one of @pages pages at @index make, if the first
 * had such a distance from its neighbor, or ended where the second begins. Else 0.
 */
static int64_t step_from(const struct stream *miss, uint64_t index, uint64_t pages)
{
	int64_t step = (int64_t)(index - miss->at);

	if (miss->followed)
		return 0;
	if (miss->next == index)
		return 1;
	if (step != miss->step || step > STEP_MAX || -step > STEP_MAX)
		return 0;
	return step >= (int64_t)(miss->next - miss->at) || -step >= (int64_t)pages ? step : 0;
}

/* The miss at @miss becomes a stream, with one of @pages pages at @index. NULL: no memory. */
static struct stream *confirm(struct streams *streams, const struct stream *miss, int64_t step,
	uint64_t index, uint64_t pages)
{
	struct stream stream = *miss;

	stream.step = step;
	stream.followed = true;
	stream.level = (uint8_t)log2_floor(miss->next - miss->at);
	stream.piece = 1;
	stream.window = 0;
	if (step != 1) {
		stream.begin = miss->at - (uint64_t)step;
		stream.piece = (uint32_t)pages;
		stream.level = 1;
	}
	stream.at = stream.next = stream.read = index;
	take_out(streams, (uint32_t)(miss - streams->stream));
	return make_space(streams, true) ? put_in(streams, &stream) : NULL;
}

/* Remember a miss that continues nothing. @n: the rank of @index. */
static struct stream *remember(struct streams *streams, uint64_t index, uint64_t pages, uint32_t n,
	bool followed, const struct pace *pace)
{
	struct stream stream = {.at = index,
		.begin = index,
		.next = index + pages,
		.read = index,
		.piece = 1,
		.followed = followed};
	const struct stream *below = n > 0 ? &streams->stream[n - 1] : NULL;
	const struct stream *above = n < streams->count ? &streams->stream[n] : NULL;

	if (below && below->at == index && !below->followed) {
		/* The same page again. */
		stream.step = below->step;
		take_out(streams, n - 1);
	} else {
		if (below)
			stream.step = (int64_t)(index - below->at);
		if (above && (!below || above->at - index < index - below->at))
			stream.step = -(int64_t)(above->at - index);
	}
	if (followed) {
		stream.step = 1;
		stream.next = index;
		stream.window = pace->max;
	}
	stream.clock = folio_u64_fetch_add_relaxed(pace->clock, followed ? 0 : pages) +
		       (followed ? 0 : pages);
	return make_space(streams, followed) ? put_in(streams, &stream) : NULL;
}

struct ahead streams_miss(
	struct streams *streams, uint64_t index, uint64_t pages, const struct pace *pace)
{
	uint32_t advice = folio_u32_load_relaxed(&streams->advice), n;
	struct ahead ahead = {.count = 0};
	struct stream *stream;
	int64_t step = 0;

	if (pace->max == 0 || advice == FOLIO_ADVICE_RANDOM) {
		folio_u64_fetch_add_relaxed(pace->clock, pages);
		return ahead;
	}
	pthread_mutex_lock(&streams->lock);
	n = rank(streams, index);
	stream = find(streams, index, n);
	if (!stream && n > 0 && (step = step_from(&streams->stream[n - 1], index, pages)))
		stream = confirm(streams, &streams->stream[n - 1], step, index, pages);
	if (!stream && !step && n < streams->count &&
		(step = step_from(&streams->stream[n], index, pages)))
		stream = confirm(streams, &streams->stream[n], step, index, pages);
	if (!stream) {
		stream =
			remember(streams, index, pages, n, advice == FOLIO_ADVICE_SEQUENTIAL, pace);
		if (stream && !stream->followed)
			stream = NULL;
	}
	if (stream)
		ahead = follow(streams, stream, index, pages, true, pace);
	pthread_mutex_unlock(&streams->lock);
	return ahead;
}

struct ahead streams_mark(struct streams *streams, uint64_t index, const struct pace *pace)
{
	struct ahead ahead = {.count = 0};
	struct stream *stream;

	if (pace->max == 0 || folio_u32_load_relaxed(&streams->advice) == FOLIO_ADVICE_RANDOM)
		return ahead;
	pthread_mutex_lock(&streams->lock);
	stream = find(streams, index, rank(streams, index));
	if (stream)
		ahead = follow(streams, stream, index, 1, false, pace);
	pthread_mutex_unlock(&streams->lock);
	return ahead;
}
