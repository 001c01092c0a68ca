/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes: random operations on a real file, compared with a model; arguments; many threads. */
#include "write-world.h"

static void random_bytes(uint64_t *random, char *to, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		to[i] = (char)(random_next(random) | 1);
}

static void write_some(struct world *world, uint64_t *random, bool in_place)
{
	static char buf[40 * FOLIO_PAGE_SIZE];
	uint64_t offset = random_below(random, MODEL_BYTES), len;

	switch (random_below(random, 4)) {
	case 0:
		len = random_below(random, sizeof(buf));
		break;
	case 1:
		offset &= ~(PAGE - 1);
		len = PAGE << random_below(random, 5);
		break;
	default:
		len = random_below(random, 200);
	}
	if (random_below(random, 4) == 0)
		offset = world->size;
	if (len > MODEL_BYTES - offset)
		len = MODEL_BYTES - offset;
	if (in_place) {
		struct folio *folio;
		void *page;

		if (!world->size)
			return;
		offset %= world->size;
		len = random_below(random, PAGE - offset % PAGE + 1);
		if (len > world->size - offset)
			len = world->size - offset;
		random_bytes(random, buf, len);
		assert_int_equal(folio_file_get_page(world->file, (world->base + offset) / PAGE, 0,
					 &folio, &page),
			0);
		assert_int_equal(folio_lock(folio), 0);
		memcpy((char *)page + offset % PAGE, buf, len);
		assert_int_equal(folio_mark_dirty(folio, 0), 0);
		folio_unlock(folio);
		folio_put(folio);
	} else {
		random_bytes(random, buf, len);
		assert_int_equal(
			folio_file_write(world->file, buf, len, world->base + offset), len);
		if (len && offset + len > world->size)
			world->size = offset + len;
	}
	memcpy(world->model + offset, buf, len);
	assert_true(folio_file_size(world->file) == world->base + world->size);
}

static void read_some(struct world *world, uint64_t *random)
{
	static char buf[40 * FOLIO_PAGE_SIZE];
	uint64_t offset = random_below(random, MODEL_BYTES), expect;
	uint64_t len = random_below(random, random_below(random, 2) ? sizeof(buf) : 150);
	size_t i;
	ssize_t n;

	expect = offset >= world->size ? 0 : world->size - offset;
	if (expect > len)
		expect = len;
	n = folio_file_read(world->file, buf, len, world->base + offset);
	assert_int_equal(n, expect);
	for (i = 0; i < expect; i++)
		if (buf[i] != world->model[offset + i])
			fail_msg("offset %lu of %lu + %lu: %02x, not %02x",
				(unsigned long)(offset + i), (unsigned long)offset,
				(unsigned long)len, (unsigned char)buf[i],
				(unsigned char)world->model[offset + i]);
}

static void resize(struct world *world, uint64_t *random)
{
	uint64_t size = random_below(random, MODEL_BYTES);

	if (random_below(random, 2))
		size &= ~(PAGE - 1);
	assert_int_equal(folio_file_truncate(world->file, world->base + size), 0);
	if (size < world->size)
		memset(world->model + size, 0, world->size - size);
	world->size = size;
	assert_true(folio_file_size(world->file) == world->base + size);
}

static void punch(struct world *world, uint64_t *random)
{
	uint64_t offset = random_below(random, MODEL_BYTES);
	uint64_t len = random_below(random, 20 * PAGE), end = offset + len;

	assert_int_equal(folio_file_punch(world->file, world->base + offset, len), 0);
	if (end > world->size)
		end = world->size;
	if (offset < end)
		memset(world->model + offset, 0, end - offset);
}

/* The largest power of two that the file system allows as the size of a file. */
static uint64_t largest_power(struct world *world)
{
	uint64_t size = UINT64_C(1) << 62;

	while (truncate(world->path, (off_t)size))
		size /= 2;
	assert_int_equal(truncate(world->path, 0), 0);
	return size;
}

/* Where the model is: at the beginning; across 4 GiB; or up to that size. */
enum far { NEAR, FAR, FARTHEST };

static void run_model(unsigned pages, uint64_t dirty_pages, enum far far, unsigned operations)
{
	static struct world world;
	uint64_t random = test_seed;
	unsigned i;

	world_begin(&world, pages, dirty_pages);
	if (far == FAR)
		world.base = (UINT64_C(1) << 32) - MODEL_BYTES / 2;
	if (far == FARTHEST)
		world.base = largest_power(&world) - MODEL_BYTES;
	assert_int_equal(folio_file_truncate(world.file, world.base), 0);
	for (i = 0; i < operations; i++) {
		switch (random_below(&random, 40)) {
		case 0:
			resize(&world, &random);
			break;
		case 1:
			punch(&world, &random);
			break;
		case 2:
			assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
			check_file(&world);
			break;
		case 3:
			assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
			break;
		case 4:
			assert_int_equal(folio_file_close(world.file), 0);
			check_file(&world);
			assert_int_equal(
				folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file),
				0);
			break;
		case 5 ... 8:
			write_some(&world, &random, true);
			break;
		case 9 ... 20:
			write_some(&world, &random, false);
			break;
		default:
			read_some(&world, &random);
		}
	}
	world_end(&world);
}

static void test_model(void **state)
{
	(void)state;
	run_model(1024, 0, NEAR, scaled(6000));
}

static void test_model_tight(void **state)
{
	(void)state;
	run_model(64, 16, NEAR, scaled(6000));
}

static void test_model_far(void **state)
{
	(void)state;
	run_model(256, 32, FAR, scaled(3000));
	run_model(128, 32, FARTHEST, scaled(3000));
}

/* Bytes next to borders of pages: writes begin and end there, in pages that are not cached. */
static void test_borders_of_pages(void **state)
{
	static const uint64_t near[] = {0, 1, 2, 3, PAGE - 2, PAGE - 1};
	static struct world world;
	unsigned i, j, pages, byte = 0;

	(void)state;
	world_begin(&world, 64, 0);
	world.size = 4 * PAGE + 1;
	memset(world.model, 'o', world.size);
	assert_int_equal(folio_file_write(world.file, world.model, world.size, 0), world.size);
	for (i = 0; i < 6; i++) {
		for (j = 0; j < 6; j++) {
			for (pages = 0; pages < 3; pages++) {
				uint64_t offset = PAGE + near[i],
					 end = (1 + pages) * PAGE + near[j];

				if (end <= offset)
					continue;
				assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
				assert_int_equal(
					folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
				memset(world.model + offset, 'a' + byte++ % 26, end - offset);
				assert_int_equal(folio_file_write(world.file, world.model + offset,
							 end - offset, offset),
					end - offset);
				assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
				check_file(&world);
			}
		}
	}
	world_end(&world);
}

static void test_arguments(void **state)
{
	static struct world world;
	struct folio_file *reader;
	char byte = 'x';

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_write(reader, &byte, 1, 0), -EBADF);
	assert_int_equal(folio_file_truncate(reader, 0), -EBADF);
	assert_int_equal(folio_file_punch(reader, 0, 1), -EBADF);
	assert_int_equal(folio_file_sync(reader, NULL, 0), 0);
	assert_int_equal(folio_file_close(reader), 0);
	assert_int_equal(folio_file_write(NULL, &byte, 1, 0), -EINVAL);
	assert_int_equal(folio_file_write(world.file, NULL, 1, 0), -EINVAL);
	assert_int_equal(folio_file_write(world.file, NULL, 0, 0), 0);
	assert_int_equal(folio_file_write(world.file, &byte, SIZE_MAX, 0), -EINVAL);
	assert_int_equal(folio_file_write(world.file, &byte, 1, UINT64_MAX), -EFBIG);
	assert_int_equal(folio_file_write(world.file, &byte, 1, INT64_MAX), -EFBIG);
	assert_int_equal(folio_file_sync(world.file, NULL, 4), -EINVAL);
	assert_int_equal(folio_file_open(world.cache, world.path, O_WRONLY, 0, &reader), -EINVAL);
	assert_int_equal(
		folio_file_open(world.cache, world.path, O_RDONLY | O_TRUNC, 0, &reader), -EINVAL);
	assert_int_equal(
		folio_file_open(world.cache, world.path, O_RDWR | O_CREAT | O_EXCL, 0600, &reader),
		-EEXIST);
	assert_int_equal(folio_file_write(world.file, &byte, 1, 10), 1);
	assert_int_equal(folio_file_size(world.file), 11);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR | O_TRUNC, 0, &reader), 0);
	assert_int_equal(folio_file_size(world.file), 0);
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&world);
}

/* Ranges at the largest offsets. None is in the file, so none changes it. */
static void test_ranges_far_away(void **state)
{
	static const struct folio_range far[] = {{INT64_MAX, 1}, {INT64_MAX - 1, 2},
		{UINT64_MAX - 1, 1}, {UINT64_MAX, 0}, {10 * PAGE, UINT64_MAX - 10 * PAGE}};
	static const struct folio_range wraps[] = {{UINT64_MAX, 1}, {UINT64_MAX - 1, 2},
		{1, UINT64_MAX - 1 + 1}, {INT64_MAX, UINT64_MAX - INT64_MAX + 1}};
	static struct world world;
	struct folio_range range;
	struct folio *folio;
	unsigned i;

	(void)state;
	world_begin(&world, 64, 0);
	memset(world.model, 'x', 5 * PAGE);
	world.size = 5 * PAGE;
	assert_int_equal(folio_file_write(world.file, world.model, world.size, 0), world.size);
	for (i = 0; i < sizeof(far) / sizeof(*far); i++) {
		range = far[i];
		assert_int_equal(folio_file_sync(world.file, &range, 0), 0);
		assert_int_equal(folio_file_punch(world.file, range.offset, range.len), 0);
		assert_int_equal(folio_file_discard(world.file, range.offset, range.len), 0);
		assert_int_equal(folio_file_invalidate(world.file, range.offset, range.len), 0);
		assert_int_equal(folio_file_prefetch(world.file, &range, 1), 0);
		assert_int_equal(
			folio_file_get(world.file, range.offset / PAGE, 0, &folio), -ENODATA);
	}
	for (i = 0; i < sizeof(wraps) / sizeof(*wraps); i++) {
		range = wraps[i];
		if (range.len != UINT64_MAX) {
			assert_int_equal(folio_file_sync(world.file, &range, 0), -EINVAL);
			assert_int_equal(
				folio_file_discard(world.file, range.offset, range.len), -EINVAL);
			assert_int_equal(folio_file_invalidate(world.file, range.offset, range.len),
				-EINVAL);
		}
		assert_int_equal(folio_file_punch(world.file, range.offset, range.len), -EINVAL);
	}
	for (i = 0; i < 3; i++) {
		assert_int_equal(
			folio_file_write(world.file, world.model, 2, (uint64_t)INT64_MAX - 1 + i),
			-EFBIG);
		assert_int_equal(
			folio_file_truncate(world.file, (uint64_t)INT64_MAX + 1 + i), -EFBIG);
	}
	assert_int_equal(folio_file_truncate(world.file, UINT64_MAX), -EFBIG);
	assert_int_equal(folio_file_get(world.file, UINT64_MAX, 0, &folio), -ENODATA);
	assert_int_equal(folio_file_size(world.file), world.size);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	/* A range that is partly in the file, and wraps. */
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	range = (struct folio_range){PAGE, UINT64_MAX};
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 4);
	world_end(&world);
}

#define TEAM 6

static struct {
	struct folio_file *file[3];
	unsigned operations;
	folio_u32 violations;
} team;

/* Every write fills a page with one value: a copy that has two saw half a write. */
static void check_whole(const char *buf, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (buf[i] != buf[i - i % PAGE])
			folio_u32_fetch_add_relaxed(&team.violations, 1);
}

static void *team_member(void *arg)
{
	static _Thread_local char buf[8 * FOLIO_PAGE_SIZE];
	uint64_t random = test_seed + (uintptr_t)arg;
	unsigned i;

	for (i = 0; i < team.operations; i++) {
		struct folio_file *file = team.file[random_below(&random, 3)];
		uint64_t offset = random_below(&random, 250) * PAGE;
		size_t len = (1 + random_below(&random, 8)) * PAGE;
		unsigned what = (unsigned)random_below(&random, 100);
		struct folio *folio;
		void *page;
		ssize_t n = 0;

		if (what < 40) {
			memset(buf, (int)random_below(&random, 256), len);
			n = folio_file_write(file, buf, len, offset);
		} else if (what < 80) {
			n = folio_file_read(file, buf, len, offset);
			if (n > 0)
				check_whole(buf, (size_t)n);
		} else if (what < 90) {
			n = folio_file_get_page(file, offset / PAGE, 0, &folio, &page);
			if (!n) {
				if (!folio_lock(folio)) {
					memset(page, (int)random_below(&random, 256), PAGE);
					folio_mark_dirty(folio, 0);
					folio_unlock(folio);
				}
				folio_put(folio);
			} else if (n == -ENODATA) {
				n = 0;
			}
		} else if (what < 93) {
			n = folio_file_sync(file, NULL, FOLIO_SYNC_DATA);
		} else if (what < 95) {
			n = folio_file_truncate(file, offset);
		} else if (what < 97) {
			n = folio_file_punch(file, offset, len);
		} else {
			n = folio_file_invalidate(file, 0, UINT64_MAX);
		}
		/*
		 * Each of the six threads holds a folio or two: a small cache may be out of memory
		 * for a moment.
		 */
		if (n < 0 && n != -ENOMEM)
			folio_u32_fetch_add_relaxed(&team.violations, 1);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	static struct world world;
	pthread_t thread[TEAM];
	uintptr_t i;

	(void)state;
	world_begin(&world, 128, 32);
	team.operations = scaled(1500);
	folio_u32_store_relaxed(&team.violations, 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(
			folio_file_open(world.cache, world.path, O_RDWR, 0, &team.file[i]), 0);
	for (i = 0; i < TEAM; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, team_member, (void *)i), 0);
	for (i = 0; i < TEAM; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(folio_u32_load_relaxed(&team.violations), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(folio_file_close(team.file[i]), 0);
	world_end(&world);
}

/* A write that replaces all that the file has of a page does not read it; any other write does. */
static void test_reads_before_writes(void **state)
{
	static const struct {
		uint64_t offset, len, fills;
	} writes[] = {
		{PAGE, PAGE, 0},     /* a page in the middle */
		{PAGE, 2 * PAGE, 0}, /* two */
		{3 * PAGE, 100, 0},  /* up to the end of the file */
		{3 * PAGE, 99, 1},   /* nearly */
		{PAGE, PAGE - 1, 1}, {PAGE + 1, PAGE - 1, 1}, {3 * PAGE + 100, 1, 1},
		{4 * PAGE, 1, 0}, /* past the end */
	};
	static char buf[4 * FOLIO_PAGE_SIZE];
	static struct world world;
	struct folio_cache_stats before, after;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		world_begin(&world, 64, 0);
		assert_int_equal(
			folio_file_write(world.file, buf, 3 * PAGE + 100, 0), 3 * PAGE + 100);
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
		assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
		before = cache_stats(world.cache);
		assert_int_equal(folio_file_write(world.file, buf, writes[i].len, writes[i].offset),
			writes[i].len);
		after = cache_stats(world.cache);
		assert_int_equal(after.fills - before.fills, writes[i].fills);
		world_end(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_borders_of_pages),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_ranges_far_away),
		cmocka_unit_test(test_reads_before_writes),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_tight),
		cmocka_unit_test(test_model_far),
	};

	test_begin("write");
	return cmocka_run_group_tests_name("write", tests, NULL, NULL);
}
