/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write.c - writing through a cache: random operations on a real file, beside a plain model of it; and the single rules.
 */
#include "cache-test.h"

#define MODEL_PAGES 200
#define MODEL_BYTES (MODEL_PAGES * PAGE)

struct world {
	struct folio_cache *cache;
	struct folio_file *file;
	char path[64];
	uint64_t size;
	char model[MODEL_BYTES];
};

static void world_begin(struct world *world, unsigned pages, uint64_t dirty_pages)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.dirty_bytes = dirty_pages * PAGE,
		.dirty_age_ms = 20,
	};
	int fd;

	memset(world, 0, sizeof(*world));
	snprintf(world->path, sizeof(world->path), "folio-write-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	assert_int_equal(folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
}

static void world_end(struct world *world)
{
	assert_int_equal(folio_file_close(world->file), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	unlink(world->path);
}

/* What the kernel says that the file is, against the model. */
static void check_file(struct world *world)
{
	static char buf[MODEL_BYTES + 1];
	int fd = open(world->path, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = pread(fd, buf, sizeof(buf), 0);
	close(fd);
	assert_int_equal(n, world->size);
	assert_memory_equal(buf, world->model, world->size);
}

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
		assert_int_equal(
			folio_file_get_page(world->file, offset / PAGE, 0, &folio, &page), 0);
		assert_int_equal(folio_lock(folio), 0);
		memcpy((char *)page + offset % PAGE, buf, len);
		assert_int_equal(folio_mark_dirty(folio, 0), 0);
		folio_unlock(folio);
		folio_put(folio);
	} else {
		random_bytes(random, buf, len);
		assert_int_equal(folio_file_write(world->file, buf, len, offset), len);
		if (len && offset + len > world->size)
			world->size = offset + len;
	}
	memcpy(world->model + offset, buf, len);
	assert_int_equal(folio_file_size(world->file), world->size);
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
	n = folio_file_read(world->file, buf, len, offset);
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
	assert_int_equal(folio_file_truncate(world->file, size), 0);
	if (size < world->size)
		memset(world->model + size, 0, world->size - size);
	world->size = size;
	assert_int_equal(folio_file_size(world->file), size);
}

static void punch(struct world *world, uint64_t *random)
{
	uint64_t offset = random_below(random, MODEL_BYTES);
	uint64_t len = random_below(random, 20 * PAGE), end = offset + len;

	assert_int_equal(folio_file_punch(world->file, offset, len), 0);
	if (end > world->size)
		end = world->size;
	if (offset < end)
		memset(world->model + offset, 0, end - offset);
}

static void run_model(unsigned pages, uint64_t dirty_pages, unsigned operations)
{
	static struct world world;
	uint64_t random = test_seed;
	unsigned i;

	world_begin(&world, pages, dirty_pages);
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
	run_model(1024, 0, scaled(6000));
}

static void test_model_tight(void **state)
{
	(void)state;
	run_model(64, 16, scaled(6000));
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
	assert_int_equal(folio_file_write(world.file, &byte, 1, UINT64_MAX), -EFBIG);
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

/* A page that left its file under a pin keeps its memory, cannot be marked, and is not written. */
static void test_pinned_behind_the_end(void **state)
{
	static struct world world;
	struct folio *folio;
	void *page;

	(void)state;
	world_begin(&world, 64, 0);
	memset(world.model, 'a', 3 * PAGE);
	assert_int_equal(folio_file_write(world.file, world.model, 3 * PAGE, 0), 3 * PAGE);
	assert_int_equal(folio_file_get_page(world.file, 2, 0, &folio, &page), 0);
	assert_int_equal(folio_file_truncate(world.file, PAGE + 5), 0);
	assert_int_equal(((char *)page)[7], 'a');
	assert_int_equal(folio_lock(folio), -ENODATA);
	folio_put(folio);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.size = PAGE + 5;
	check_file(&world);
	world_end(&world);
}

/* A large folio in which the file ends is split by a write to its beginning: the file ends where it did. */
static void test_split_keeps_the_end(void **state)
{
	const uint64_t size = 8 * PAGE - PAGE / 2;
	static char copy[8 * PAGE];
	static struct world world;
	char buf[64];

	(void)state;
	world_begin(&world, 1024, 0);
	memset(world.model, 'a', size);
	assert_int_equal(folio_file_write(world.file, world.model, size, 0), size);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	/* One read of all of it: a folio of 8 pages. */
	assert_int_equal(folio_file_read(world.file, copy, sizeof(copy), 0), size);
	assert_memory_equal(copy, world.model, size);
	world.model[3] = 'b';
	assert_int_equal(folio_file_write(world.file, "b", 1, 3), 1);
	/* By the tree, which gives a hint; then by the hint. */
	assert_int_equal(folio_file_read(world.file, buf, 1, 7 * PAGE), 1);
	assert_int_equal(folio_file_read(world.file, buf, 64, size), 0);
	assert_int_equal(folio_file_read(world.file, buf, 64, size - 8), 8);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.size = size;
	check_file(&world);
	world_end(&world);
}

/* ---- a backend whose writes and syncs fail on command ---- */

static folio_u32 write_error, sync_error;
static folio_u32 writes_failed;

static void failing_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	uint32_t error = folio_u32_load_relaxed(&write_error);
	unsigned i;

	for (i = 0; i < count; i++) {
		if (error && requests[i]->op == FOLIO_IO_WRITE) {
			folio_u32_fetch_add_relaxed(&writes_failed, 1);
			requests[i]->complete(requests[i], -(ssize_t)error);
		} else {
			folio_io_threads.submit(context, &requests[i], 1);
		}
	}
}

static int failing_sync(void *context, void *handle, unsigned flags)
{
	uint32_t error = folio_u32_load_relaxed(&sync_error);

	return error ? -(int)error : folio_io_threads.sync(context, handle, flags);
}

static void failing_world_begin(struct world *world, unsigned pages,
	int (*before)(void *context, uint64_t sequence), void *context)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
		.before_writeback = before,
		.before_writeback_context = context,
	};
	int fd;

	ops = folio_io_threads;
	ops.submit = failing_submit;
	ops.sync = failing_sync;
	folio_u32_store_relaxed(&write_error, 0);
	folio_u32_store_relaxed(&sync_error, 0);
	memset(world, 0, sizeof(*world));
	snprintf(world->path, sizeof(world->path), "folio-write-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	assert_int_equal(folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
}

static uint64_t pages_dirty(struct world *world)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	assert_int_equal(folio_cache_stats(world->cache, &stats), 0);
	return stats.pages_dirty;
}

/* Each handle that was open is told once, one that came later is not; the page stays dirty, and the next sync writes it. */
static void test_error_told_once(void **state)
{
	static struct world world;
	struct folio_file *other, *late;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &other), 0);
	memset(world.model, 'e', 2 * PAGE);
	world.size = 2 * PAGE;
	assert_int_equal(folio_file_write(world.file, world.model, 2 * PAGE, 0), 2 * PAGE);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(pages_dirty(&world), 2);
	/* Again, since it failed again. */
	folio_u32_store_relaxed(&write_error, ENOSPC);
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), -ENOSPC);
	assert_int_equal(pages_dirty(&world), 2);
	folio_u32_store_relaxed(&write_error, 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &late), 0);
	/* Written now: the one who was told is content, the other one is told of what was, once. */
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(pages_dirty(&world), 0);
	check_file(&world);
	assert_int_equal(folio_file_sync(other, NULL, 0), -ENOSPC);
	assert_int_equal(folio_file_sync(other, NULL, 0), 0);
	assert_int_equal(folio_file_sync(late, NULL, 0), 0);
	assert_int_equal(folio_file_close(late), 0);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
}

/* The last close says so, and loses nothing; giving up loses it, and says so, too. */
static void test_close_refuses(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_close(world.file), -EIO);
	folio_u32_store_relaxed(&write_error, 0);
	world.model[0] = 'x';
	world.size = 1;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	assert_int_equal(folio_file_write(world.file, "y", 1, 0), 1);
	folio_u32_store_relaxed(&write_error, EIO);
	assert_int_equal(folio_file_abandon(world.file), -EIO);
	check_file(&world);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/* A device that takes nothing: writers are told when no more may be dirty; nothing of what they wrote is lost. */
static void test_dirty_limit(void **state)
{
	static struct world world;
	uint64_t offset = 0;
	ssize_t n;

	(void)state;
	failing_world_begin(&world, 256, NULL, NULL);
	folio_u32_store_relaxed(&write_error, EIO);
	memset(world.model, 'd', MODEL_BYTES);
	while ((n = folio_file_write(world.file, world.model, 2 * PAGE, offset)) == 2 * PAGE) {
		offset += 2 * PAGE;
		assert_true(offset < 100 * PAGE);
	}
	assert_true(n == -EIO || n == PAGE);
	world.size = folio_file_size(world.file);
	assert_true(pages_dirty(&world) * PAGE >= world.size);
	folio_u32_store_relaxed(&write_error, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/* After a sync that failed nobody knows what the device has: no later one says that all is well. */
static void test_sync_fails(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 64, NULL, NULL);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	folio_u32_store_relaxed(&sync_error, EIO);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	folio_u32_store_relaxed(&sync_error, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.model[0] = 'x';
	world.size = 1;
	world_end(&world);
}

/* An engine's log goes first: no page is written before its sequence number was. */
static uint64_t log_written;
static int log_error;

static int flush_log(void *context, uint64_t sequence)
{
	(void)context;
	if (log_error)
		return log_error;
	if (sequence > log_written)
		log_written = sequence;
	return 0;
}

static void test_log_first(void **state)
{
	static struct world world;
	struct folio *folio;
	void *page;
	uint64_t i;

	(void)state;
	failing_world_begin(&world, 64, flush_log, NULL);
	log_written = 0;
	memset(world.model, 0, 4 * PAGE);
	world.size = 4 * PAGE;
	assert_int_equal(folio_file_truncate(world.file, world.size), 0);
	for (i = 0; i < 4; i++) {
		assert_int_equal(folio_file_get_page(world.file, i, 0, &folio, &page), 0);
		assert_int_equal(folio_lock(folio), 0);
		memset(page, 'a' + (int)i, PAGE);
		memset(world.model + i * PAGE, 'a' + (int)i, PAGE);
		assert_int_equal(folio_mark_dirty(folio, 100 + i), 0);
		folio_unlock(folio);
		folio_put(folio);
	}
	assert_int_equal(log_written, 0);
	log_error = -ENOSPC;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ENOSPC);
	assert_int_equal(pages_dirty(&world), 4);
	log_error = 0;
	assert_int_equal(
		folio_file_sync(world.file, &(struct folio_range){.offset = 0, .len = PAGE}, 0), 0);
	assert_int_equal(log_written, 100);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(log_written, 103);
	check_file(&world);
	world_end(&world);
}

/* ---- many threads ---- */

#define TEAM 6

static struct {
	struct folio_file *file[3];
	unsigned operations;
	folio_u32 violations;
} team;

/* Every write of a page gives all its bytes one value: a copy that finds two has seen half a write. */
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
		/* Six threads with a folio or two each: a small cache may have nothing else for a moment. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_pinned_behind_the_end),
		cmocka_unit_test(test_split_keeps_the_end),
		cmocka_unit_test(test_error_told_once),
		cmocka_unit_test(test_close_refuses),
		cmocka_unit_test(test_dirty_limit),
		cmocka_unit_test(test_sync_fails),
		cmocka_unit_test(test_log_first),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_tight),
	};

	test_begin("write");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
