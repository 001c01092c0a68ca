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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_pinned_behind_the_end),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_tight),
	};

	test_begin("write");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
