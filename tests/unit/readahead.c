/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rule of read-ahead, without a cache: regular reading is detected and windows grow ahead of
 * it, as far as their share goes; random reading opens none. streams.c reads through a cache.
 */
#include "cache-test.h"

/* A handle, and a cache in which nothing else is read. */
struct handle {
	struct streams streams;
	struct pace pace;
	folio_u64 clock;
};

static void handle_begin(struct handle *handle, uint64_t max)
{
	streams_init(&handle->streams);
	folio_u64_store_relaxed(&handle->clock, 0);
	handle->pace = (struct pace){.max = max, .share = max, .clock = &handle->clock};
}

static void handle_end(struct handle *handle)
{
	streams_destroy(&handle->streams);
}

static struct ahead miss(struct handle *handle, uint64_t index, uint64_t pages)
{
	return streams_miss(&handle->streams, index, pages, &handle->pace);
}

static struct ahead mark(struct handle *handle, uint64_t index)
{
	return streams_mark(&handle->streams, index, &handle->pace);
}

/* As if other handles had used @pages pages. */
static void others_use(struct handle *handle, uint64_t pages)
{
	folio_u64_fetch_add_relaxed(&handle->clock, pages);
}

static bool power_of_two(uint64_t x)
{
	return x && !(x & (x - 1));
}

static uint64_t ahead_pages(struct ahead ahead)
{
	return ahead.count * ahead.pages;
}

/* What every window after a sequential read satisfies that ended at page @end. */
static void expect_window(struct ahead ahead, uint64_t end, uint64_t max)
{
	assert_int_equal(ahead.count, 1);
	assert_int_equal(ahead.first, end);
	assert_int_equal(ahead.mark, end);
	assert_true(ahead.pages > 0 && ahead.pages <= max);
}

static void test_first_miss(void **state)
{
	static const uint64_t places[] = {0, 1, 7, 1000, UINT64_C(1) << 40};
	struct handle handle;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		handle_begin(&handle, 1024);
		assert_int_equal(miss(&handle, places[i], 3).count, 0);
		/* The same page again continues nothing. */
		assert_int_equal(miss(&handle, places[i], 3).count, 0);
		handle_end(&handle);
	}
}

/* A reader of single pages: the second miss opens a window, and from then on marks continue it. */
static void follow(uint64_t begin, uint64_t pages, uint64_t max)
{
	uint64_t end, at, last = 0, largest = 0;
	struct handle handle;
	struct ahead ahead;
	unsigned i;

	handle_begin(&handle, max);
	miss(&handle, begin, pages);
	ahead = miss(&handle, begin + pages, pages);
	expect_window(ahead, begin + 2 * pages, max);
	for (i = 0; i < 30; i++) {
		at = ahead.mark;
		end = ahead.first + ahead.pages;
		ahead = mark(&handle, at);
		/* It starts where the last window ended, and is no smaller than that. */
		expect_window(ahead, end, max);
		if (i > 1)
			assert_true(ahead.pages >= last);
		last = ahead.pages;
		if (last > largest)
			largest = last;
	}
	/* It has grown to the largest power of two, and ends where folios of its size do. */
	assert_true(power_of_two(largest));
	assert_true(largest <= max && largest * 2 > max);
	assert_int_equal(last, largest);
	assert_int_equal((ahead.first + ahead.pages) % largest, 0);
	handle_end(&handle);
}

static void test_sequential(void **state)
{
	static const uint64_t begins[] = {0, 1, 13, 64, 4095, UINT64_C(1) << 40};
	static const uint64_t maxima[] = {1, 2, 3, 16, 100, 256, 1000, 1024, 4096};
	static const uint64_t sizes[] = {1, 2, 5, 16, 33};
	unsigned b, m, s;

	(void)state;
	for (b = 0; b < sizeof(begins) / sizeof(begins[0]); b++)
		for (m = 0; m < sizeof(maxima) / sizeof(maxima[0]); m++)
			for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
				follow(begins[b], sizes[s], maxima[m]);
}

/* Consecutive misses, as when marks get lost: windows also double. */
static void test_sequential_misses(void **state)
{
	uint64_t index = 0, last = 0;
	struct handle handle;
	unsigned i;

	(void)state;
	handle_begin(&handle, 256);
	for (i = 0; i < 20; i++) {
		struct ahead ahead = miss(&handle, index, 1);

		index++;
		if (i > 0) {
			expect_window(ahead, index, 256);
			index += ahead.pages;
		}
		if (i > 2 && last < 128)
			assert_true(ahead.pages > last);
		last = ahead_pages(ahead);
	}
	assert_true(last >= 128);
	handle_end(&handle);
}

/*
 * Pieces at equal distances: the third one is a stream. Each window has the pieces that follow the
 * ones before, whichever way the reader goes, and grows up to a bound.
 */
static void follow_pieces(uint64_t begin, int64_t step, uint64_t pages)
{
	uint64_t next = begin, last = 0, pieces = 3;
	struct handle handle;
	struct ahead ahead = {.count = 0};
	unsigned i;

	handle_begin(&handle, 4096);
	for (i = 0; i < 3; i++, next += (uint64_t)step) {
		assert_int_equal(ahead.count, 0);
		ahead = miss(&handle, next, pages);
	}
	for (i = 0; i < 6; i++) {
		/* Adjacent pieces are one range. */
		if ((uint64_t)-step == pages) {
			assert_int_equal(ahead.count, 1);
			assert_int_equal(ahead.first + ahead.pages, next + pages);
		} else {
			assert_int_equal(ahead.first, next);
			assert_int_equal(ahead.step, step);
			assert_int_equal(ahead.pages, pages);
			assert_true(ahead.count <= 16);
		}
		assert_int_equal(ahead.mark, next);
		assert_int_equal(ahead_pages(ahead) % pages, 0);
		assert_true(ahead_pages(ahead) / pages >= (i ? 8 : 4));
		assert_true(ahead_pages(ahead) >= last);
		last = ahead_pages(ahead);
		next += (uint64_t)step * (last / pages);
		ahead = mark(&handle, ahead.mark);
		/* Pages between the pieces were not used. */
		assert_true(folio_u64_load_relaxed(&handle.clock) <= (pieces + 1) * pages);
		pieces += last / pages;
	}
	handle_end(&handle);
}

static void test_pieces(void **state)
{
	(void)state;
	follow_pieces(0, 2, 1);
	follow_pieces(5, 256, 16);
	follow_pieces(100000, 7, 3);
	follow_pieces(100000, -1, 1);
	follow_pieces(100000, -16, 16);
	follow_pieces(1000000, -256, 16);
}

/* A backward reader has nothing ahead of it at the beginning of the file. */
static void test_backward_ends(void **state)
{
	struct handle handle;
	uint64_t index;

	(void)state;
	for (index = 0; index < 4; index++) {
		struct ahead ahead;

		handle_begin(&handle, 64);
		miss(&handle, index + 20, 10);
		miss(&handle, index + 10, 10);
		ahead = miss(&handle, index, 10);
		assert_int_equal(ahead.count, 0);
		assert_int_equal(handle.streams.followed, 0);
		handle_end(&handle);
	}
	/* A window would have four pages. */
	handle_begin(&handle, 64);
	for (index = 5; index > 2; index--)
		assert_int_equal(ahead_pages(miss(&handle, index, 1)), index == 3 ? 3 : 0);
	assert_int_equal(mark(&handle, 2).count, 0);
	assert_int_equal(handle.streams.followed, 0);
	handle_end(&handle);
}

static void test_off(void **state)
{
	struct handle handle;
	uint64_t i;

	(void)state;
	handle_begin(&handle, 0);
	for (i = 0; i < 100; i++) {
		assert_int_equal(miss(&handle, i, 1).count, 0);
		assert_int_equal(mark(&handle, i).count, 0);
	}
	handle_end(&handle);
	handle_begin(&handle, 1024);
	folio_u32_store_relaxed(&handle.streams.advice, FOLIO_ADVICE_RANDOM);
	for (i = 0; i < 100; i++) {
		assert_int_equal(miss(&handle, i, 1).count, 0);
		assert_int_equal(mark(&handle, i).count, 0);
	}
	/* What it reads takes memory nonetheless. */
	assert_int_equal(folio_u64_load_relaxed(&handle.clock), 100);
	handle_end(&handle);
}

/* A reader that advises sequential access gets the largest window at once, at any offset. */
static void test_advised(void **state)
{
	struct handle handle;
	struct ahead ahead;
	uint64_t end;

	(void)state;
	handle_begin(&handle, 1024);
	folio_u32_store_relaxed(&handle.streams.advice, FOLIO_ADVICE_SEQUENTIAL);
	ahead = miss(&handle, 4096, 1);
	expect_window(ahead, 4097, 1024);
	assert_true(ahead.pages >= 512);
	end = ahead.first + ahead.pages;
	ahead = mark(&handle, ahead.mark);
	expect_window(ahead, end, 1024);
	assert_int_equal(ahead.pages, 1024);
	handle_end(&handle);
}

/* Random reading in a large file reads nothing ahead, however long it continues. */
static void test_random(void **state)
{
	uint64_t random = test_seed;
	struct handle handle;
	unsigned i;

	(void)state;
	handle_begin(&handle, 1024);
	for (i = scaled(200000); i-- > 0;) {
		assert_int_equal(
			miss(&handle, random_below(&random, UINT64_C(1) << 45), 1).count, 0);
		/* The mark of a reader from long ago. */
		assert_int_equal(mark(&handle, random_below(&random, UINT64_C(1) << 45)).count, 0);
	}
	assert_true(handle.streams.count <= STREAMS);
	handle_end(&handle);
}

/*
 * As many streams as are followed continue in parallel, in turn, also with random misses between
 * them. Their windows are as large as their share.
 */
static void test_interleaved(void **state)
{
	uint64_t random = test_seed, at[STREAMS], ends[STREAMS];
	struct handle handle;
	unsigned i, s;

	(void)state;
	handle_begin(&handle, 64 * STREAMS);
	for (s = 0; s < STREAMS; s++)
		miss(&handle, s * UINT64_C(1000000), 1);
	for (s = 0; s < STREAMS; s++) {
		struct ahead ahead = miss(&handle, s * UINT64_C(1000000) + 1, 1);

		expect_window(ahead, s * UINT64_C(1000000) + 2, 64);
		at[s] = ahead.mark;
		ends[s] = ahead.first + ahead.pages;
	}
	for (i = 0; i < 10000; i++) {
		struct ahead ahead;

		miss(&handle, random_below(&random, UINT64_C(1) << 40), 1);
		s = i * 37 % STREAMS;
		ahead = mark(&handle, at[s]);
		expect_window(ahead, ends[s], 64 * STREAMS);
		at[s] = ahead.mark;
		ends[s] = ahead.first + ahead.pages;
	}
	assert_int_equal(handle.streams.followed, STREAMS);
	assert_true(handle.streams.count <= 2 * STREAMS);
	handle_end(&handle);
}

/* A reader of single pages in order, in memory where nothing is evicted. */
struct reader {
	uint64_t next, mark, end; /* pages: to be read, marked, and the first not requested yet */
	uint64_t misses, marks;
};

static void read_next(struct handle *handle, struct reader *reader)
{
	struct ahead ahead = {.count = 0};

	if (reader->next == reader->end) {
		ahead = miss(handle, reader->next, 1);
		reader->end++;
		reader->misses++;
	} else if (reader->next == reader->mark) {
		ahead = mark(handle, reader->next);
		reader->marks += ahead.count;
	}
	reader->next++;
	if (ahead.count) {
		assert_int_equal(ahead.first, reader->end);
		reader->mark = ahead.mark;
		reader->end += ahead.pages;
	}
}

/* Some streams too many: only some are lost at a time. */
static void test_too_many(void **state)
{
	struct reader reader[STREAMS + 4] = {{0}};
	uint64_t misses = 0;
	struct handle handle;
	unsigned i, s;

	(void)state;
	handle_begin(&handle, 64 * STREAMS);
	for (s = 0; s < STREAMS + 4; s++)
		reader[s].next = reader[s].end = s * UINT64_C(1000000);
	for (i = 0; i < 2000; i++)
		for (s = 0; s < STREAMS + 4; s++)
			read_next(&handle, &reader[s]);
	for (s = 0; s < STREAMS + 4; s++)
		misses += reader[s].misses;
	assert_true(misses < (STREAMS + 4) * 2000 / 20);
	handle_end(&handle);
}

/* The window of a stream for each page of which other streams use @others pages. */
static uint64_t window_beside(uint64_t others)
{
	struct handle handle;
	struct ahead ahead;
	uint64_t used = 1;
	unsigned i;

	handle_begin(&handle, 1024);
	miss(&handle, 0, 1);
	others_use(&handle, others);
	ahead = miss(&handle, 1, 1);
	for (i = 0; i < 20 && ahead.count; i++) {
		uint64_t pages = ahead.pages;

		others_use(&handle, others * used);
		used = pages;
		ahead = mark(&handle, ahead.mark);
	}
	handle_end(&handle);
	return ahead_pages(ahead);
}

/* The windows of all streams together have the share; the slowest stream has the smallest. */
static void test_shares(void **state)
{
	(void)state;
	assert_int_equal(window_beside(0), 1024);
	assert_int_equal(window_beside(1), 512);
	assert_int_equal(window_beside(15), 64);
	assert_int_equal(window_beside(255), 4);
	assert_int_equal(window_beside(4000), 0);
}

/* A window that was evicted before its reader came: the next is half as large, then they grow. */
static void test_thrash(void **state)
{
	struct handle handle;
	struct ahead ahead;
	uint64_t last;
	unsigned i;

	(void)state;
	handle_begin(&handle, 256);
	miss(&handle, 0, 1);
	ahead = miss(&handle, 1, 1);
	for (i = 0; i < 10; i++)
		ahead = mark(&handle, ahead.mark);
	assert_int_equal(ahead.pages, 256);
	/* Its first pages, and then some in the middle of it. */
	ahead = miss(&handle, ahead.mark, 1);
	assert_true(ahead.pages >= 64 && ahead.pages <= 128);
	ahead = miss(&handle, ahead.first + ahead.pages / 2, 1);
	assert_true(ahead.pages >= 32 && ahead.pages <= 64);
	for (i = 0; i < 4; i++) {
		last = ahead.pages;
		ahead = mark(&handle, ahead.mark);
		assert_true(ahead.pages >= last);
	}
	assert_int_equal(ahead.pages, 256);
	handle_end(&handle);
}

/*
 * Runs of 16 pages: soon nothing is read past their end. A longer one misses there, but not after
 * that.
 */
static void test_runs(void **state)
{
	uint64_t wasted = 0, misses = 0;
	struct reader reader = {0};
	struct handle handle;
	unsigned run;

	(void)state;
	handle_begin(&handle, 256);
	for (run = 0; run < 300; run++) {
		reader = (struct reader){.next = run * UINT64_C(1000000)};
		reader.end = reader.next;
		while (reader.next % 1000000 < 16)
			read_next(&handle, &reader);
		if (run >= 200) {
			wasted += reader.end - reader.next;
			misses += reader.misses;
		}
	}
	assert_true(wasted <= 100);
	assert_true(misses <= 400);
	reader.misses = 0;
	while (reader.next % 1000000 < 10000)
		read_next(&handle, &reader);
	assert_true(reader.misses > 0 && reader.misses <= 3);
	/* Longer ones do not miss at each length at which they might have ended. */
	for (; run < 304; run++) {
		reader = (struct reader){.next = run * UINT64_C(1000000)};
		reader.end = reader.next;
		while (reader.next % 1000000 < 10000)
			read_next(&handle, &reader);
	}
	assert_true(reader.misses <= 3);
	handle_end(&handle);
}

/* For any calls, windows stay within their bounds, and the table too. */
static void test_anything(void **state)
{
	uint64_t random = test_seed, place = 0;
	struct handle handle;
	unsigned i;

	(void)state;
	handle_begin(&handle, 1024);
	for (i = scaled(200000); i-- > 0;) {
		uint64_t pages = 1 + random_below(&random, random_below(&random, 4) ? 4 : 600);
		struct ahead ahead;
		unsigned k;

		handle.pace.max = random_below(&random, 3) ? 1024 : random_below(&random, 200);
		if (random_below(&random, 20) == 0)
			folio_u32_store_relaxed(
				&handle.streams.advice, (uint32_t)random_below(&random, 3));
		if (random_below(&random, 3) == 0)
			place = random_below(&random, 5000);
		others_use(&handle, random_below(&random, 3));
		ahead = random_below(&random, 2) ? miss(&handle, place, pages)
						 : mark(&handle, place);
		assert_true(ahead_pages(ahead) <= handle.pace.max);
		for (k = 0; k < ahead.count; k++)
			assert_true((int64_t)(ahead.first + k * (uint64_t)ahead.step) >= 0);
		switch (random_below(&random, 4)) {
		case 0:
			place = ahead.count ? ahead.mark : place + pages;
			break;
		case 1:
			place += pages;
			break;
		case 2:
			place = place > 2 * pages ? place - pages : place + 2 * pages;
			break;
		default:
			place = ahead.first + ahead_pages(ahead);
		}
		assert_true(handle.streams.count <= 2 * STREAMS);
		assert_true(handle.streams.followed <= STREAMS);
		assert_true(handle.streams.count <= handle.streams.space);
	}
	handle_end(&handle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_miss),
		cmocka_unit_test(test_sequential),
		cmocka_unit_test(test_sequential_misses),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_backward_ends),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_advised),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_interleaved),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_thrash),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_anything),
	};

	test_begin("readahead");
	return cmocka_run_group_tests_name("readahead", tests, NULL, NULL);
}
