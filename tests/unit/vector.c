/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads and writes of several buffers: compared with a model; pages, errors and ends. */
#include <limits.h>
#include <sys/uio.h>

#include <folio/iovec.h>

#include "fault-world.h"

#define MODEL_BYTES (64 * PAGE)
#define BUFFERS     20

/* A file on disk, in a cache of its own, and what it has. */
struct model {
	struct folio_cache *cache;
	struct folio_file *file;
	char path[32];
	uint64_t size;
	char bytes[MODEL_BYTES];
};

static void model_begin(struct model *model, uint64_t pages, uint32_t flags)
{
	int fd;

	memset(model, 0, sizeof(*model));
	snprintf(model->path, sizeof(model->path), "folio-vector-XXXXXX");
	fd = mkstemp(model->path);
	assert_true(fd >= 0);
	close(fd);
	model->cache = cache_open(pages, flags, NULL);
	assert_int_equal(folio_file_open(model->cache, model->path, O_RDWR, 0, &model->file), 0);
}

static void model_end(struct model *model)
{
	assert_int_equal(folio_file_close(model->file), 0);
	assert_int_equal(folio_cache_close(model->cache), 0);
	unlink(model->path);
}

/* Buffers of @len bytes in all or fewer, in @space; some have no bytes. Returns the bytes. */
static size_t random_vector(
	uint64_t *random, struct iovec *iov, unsigned count, char *space, size_t len)
{
	size_t used = 0;
	unsigned i;

	for (i = 0; i < count; i++) {
		static const uint64_t most[] = {1, 100, PAGE, 3 * PAGE, 20 * PAGE};
		size_t n = random_below(random, most[random_below(random, 5)] + 1);

		if (random_below(random, 4) == 0)
			n &= ~(size_t)(PAGE - 1);
		if (n > len - used)
			n = len - used;
		iov[i] = (struct iovec){.iov_base = n ? space + used : NULL, .iov_len = n};
		used += n;
	}
	return used;
}

static void model_write(struct model *model, uint64_t *random, struct iovec *iov, unsigned count)
{
	static char buf[MODEL_BYTES];
	uint64_t offset = random_below(random, MODEL_BYTES);
	size_t i, len;

	if (random_below(random, 3) == 0)
		offset &= ~(PAGE - 1);
	len = random_vector(random, iov, count, buf, MODEL_BYTES - offset);
	for (i = 0; i < len; i++)
		buf[i] = (char)(random_next(random) | 1);
	assert_int_equal(folio_file_writev(model->file, iov, count, offset, 0), len);
	memcpy(model->bytes + offset, buf, len);
	if (len && offset + len > model->size)
		model->size = offset + len;
	assert_int_equal(folio_file_size(model->file), model->size);
}

static void model_read(struct model *model, uint64_t *random, struct iovec *iov, unsigned count)
{
	static char buf[MODEL_BYTES];
	uint64_t offset = random_below(random, MODEL_BYTES);
	size_t len, expect = offset < model->size ? model->size - offset : 0;

	memset(buf, '?', sizeof(buf));
	len = random_vector(random, iov, count, buf, MODEL_BYTES);
	if (expect > len)
		expect = len;
	assert_int_equal(folio_file_readv(model->file, iov, count, offset, 0), expect);
	assert_memory_equal(buf, model->bytes + offset, expect);
	/* The rest of the buffers is as it was. */
	if (expect < len)
		assert_int_equal(buf[expect], '?');
}

static void run_model(uint64_t pages)
{
	static struct model model;
	struct iovec iov[BUFFERS];
	uint64_t random = test_seed;
	unsigned i, steps = scaled(3000);

	model_begin(&model, pages, 0);
	for (i = 0; i < steps; i++) {
		unsigned count = (unsigned)random_below(&random, BUFFERS + 1);

		switch (random_below(&random, 10)) {
		case 0:
			assert_int_equal(folio_file_sync(model.file, NULL, 0), 0);
			assert_int_equal(folio_file_invalidate(model.file, 0, UINT64_MAX), 0);
			break;
		case 1:
			model.size = random_below(&random, MODEL_BYTES);
			memset(model.bytes + model.size, 0, MODEL_BYTES - model.size);
			assert_int_equal(folio_file_truncate(model.file, model.size), 0);
			break;
		case 2 ... 5:
			model_write(&model, &random, iov, count);
			break;
		default:
			model_read(&model, &random, iov, count);
		}
	}
	model_end(&model);
}

static void test_model(void **state)
{
	(void)state;
	run_model(256);
}

/* Half of the file does not fit into the cache. */
static void test_model_tight(void **state)
{
	(void)state;
	run_model(64);
}

static void test_arguments(void **state)
{
	static struct model model;
	static struct iovec many[IOV_MAX + 1], iov[2];
	char bytes[4] = "abc";
	unsigned i;

	(void)state;
	model_begin(&model, 64, 0);
	for (i = 0; i < IOV_MAX + 1; i++)
		many[i] = (struct iovec){.iov_base = bytes, .iov_len = 1};
	assert_int_equal(folio_file_writev(model.file, many, IOV_MAX, 0, 0), IOV_MAX);
	assert_int_equal(folio_file_readv(model.file, many, IOV_MAX, 0, 0), IOV_MAX);
	assert_int_equal(folio_file_writev(model.file, many, IOV_MAX + 1, 0, 0), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, many, IOV_MAX + 1, 0, 0), -EINVAL);
	assert_int_equal(folio_file_writev(NULL, many, 1, 0, 0), -EINVAL);
	assert_int_equal(folio_file_readv(NULL, many, 1, 0, 0), -EINVAL);
	assert_int_equal(folio_file_writev(model.file, NULL, 1, 0, 0), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, NULL, 1, 0, 0), -EINVAL);
	assert_int_equal(folio_file_writev(model.file, NULL, 0, 0, 0), 0);
	assert_int_equal(folio_file_readv(model.file, NULL, 0, 0, 0), 0);
	assert_int_equal(folio_file_writev(model.file, many, 1, 0, 1u << 31), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, many, 1, 0, 1u << 31), -EINVAL);
	/*
	 * The lengths: above 2^63 - 1 together, which no sum may hide; and with the offset. Where
	 * these reads begin, the file has no bytes that they could copy.
	 */
	iov[0] = (struct iovec){.iov_base = bytes, .iov_len = INT64_MAX};
	iov[1] = (struct iovec){.iov_base = bytes, .iov_len = 1};
	assert_int_equal(folio_file_writev(model.file, iov, 2, 0, 0), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, iov, 2, PAGE, 0), -EINVAL);
	iov[0].iov_len = iov[1].iov_len = SIZE_MAX / 2 + 2;
	assert_int_equal(folio_file_writev(model.file, iov, 2, 0, 0), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, iov, 2, PAGE, 0), -EINVAL);
	iov[0].iov_len = iov[1].iov_len = 2;
	assert_int_equal(folio_file_writev(model.file, iov, 2, (uint64_t)INT64_MAX - 3, 0), -EFBIG);
	assert_int_equal(folio_file_readv(model.file, iov, 2, (uint64_t)INT64_MAX - 3, 0), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, iov, 2, (uint64_t)INT64_MAX - 4, 0), 0);
	/* No address, and no bytes: passed over. No address, and bytes: refused. */
	iov[0] = (struct iovec){.iov_base = NULL, .iov_len = 0};
	assert_int_equal(folio_file_writev(model.file, iov, 2, 0, 0), 2);
	assert_int_equal(folio_file_readv(model.file, iov, 2, 0, 0), 2);
	iov[0].iov_len = 1;
	assert_int_equal(folio_file_writev(model.file, iov, 2, 0, 0), -EINVAL);
	assert_int_equal(folio_file_readv(model.file, iov, 2, 0, 0), -EINVAL);
	model_end(&model);
}

/* A handle for reading cannot write. */
static void test_writable(void **state)
{
	struct iovec iov[2] = {{.iov_base = "ab", .iov_len = 2}, {.iov_base = "c", .iov_len = 1}};
	static struct model model;
	struct folio_file *reader;

	(void)state;
	model_begin(&model, 64, 0);
	reader = file_open(model.cache, model.path);
	assert_int_equal(folio_file_writev(reader, iov, 2, 0, 0), -EBADF);
	assert_int_equal(folio_file_writev(model.file, iov, 2, 0, FOLIO_WRITE_ONCE), 3);
	assert_int_equal(folio_file_close(reader), 0);
	model_end(&model);
}

/* A page in three buffers is looked up once: so its bytes are of one moment. */
static void test_page_of_one_moment(void **state)
{
	static char buf[4 * FOLIO_PAGE_SIZE];
	struct iovec iov[4] = {{buf, PAGE + 10}, {buf + PAGE + 10, 1}, {buf + PAGE + 11, PAGE - 1},
		{buf + 2 * PAGE + 10, PAGE}};
	struct folio_cache_stats before, after;
	struct world world;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 10 * PAGE);
	expect_read(&world, 0, 10 * PAGE, 1);
	before = cache_stats(world.cache);
	assert_int_equal(folio_file_readv(world.file, iov, 4, PAGE, 0), 3 * PAGE + 10);
	after = cache_stats(world.cache);
	assert_true(io_fault_check(world.contents, PAGE, buf, 3 * PAGE + 10, NULL, NULL));
	assert_int_equal(after.hits - before.hits, 4);
	assert_int_equal(after.misses, before.misses);
	/* A few bytes of a page, which are no complete page of any buffer. */
	iov[0].iov_len = iov[1].iov_len = iov[2].iov_len = 5;
	before = after;
	assert_int_equal(folio_file_readv(world.file, iov, 3, PAGE + 100, 0), 15);
	after = cache_stats(world.cache);
	assert_int_equal(after.hits - before.hits, 1);
	world_end(&world);
}

/* What a page is replaced by may be in several buffers: the page is not read, and changes once. */
static void test_page_written_once(void **state)
{
	static char buf[4 * FOLIO_PAGE_SIZE];
	struct iovec iov[3] = {{buf, 10}, {buf + 10, PAGE}, {buf + PAGE + 10, 2 * PAGE - 10}};
	struct folio_cache_stats before, after;
	static struct model model;

	(void)state;
	model_begin(&model, 64, FOLIO_CACHE_NO_READAHEAD);
	memset(buf, 'w', sizeof(buf));
	assert_int_equal(folio_file_write(model.file, buf, 4 * PAGE, 0), 4 * PAGE);
	assert_int_equal(folio_file_sync(model.file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(model.file, 0, UINT64_MAX), 0);
	before = cache_stats(model.cache);
	assert_int_equal(folio_file_writev(model.file, iov, 3, 0, 0), 3 * PAGE);
	after = cache_stats(model.cache);
	assert_int_equal(after.fills, before.fills);
	model_end(&model);
}

/* The pages of all buffers are read together. */
static void test_one_fill(void **state)
{
	static char buf[16 * FOLIO_PAGE_SIZE];
	struct iovec iov[16];
	struct folio_cache_stats stats;
	struct world world;
	unsigned i;

	(void)state;
	for (i = 0; i < 16; i++)
		iov[i] = (struct iovec){buf + i * PAGE, PAGE};
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 16 * PAGE);
	assert_int_equal(folio_file_readv(world.file, iov, 16, 0, 0), 16 * PAGE);
	assert_true(io_fault_check(world.contents, 0, buf, 16 * PAGE, NULL, NULL));
	stats = cache_stats(world.cache);
	assert_int_equal(reads(&world), 1);
	assert_int_equal(stats.misses, 16);
	assert_int_equal(stats.hits, 0);
	world_end(&world);
}

/* A page that cannot be read: the pages before it are returned, and then the error. */
static void test_errors(void **state)
{
	static char buf[8 * FOLIO_PAGE_SIZE];
	struct iovec iov[8];
	struct world world;
	unsigned i;

	(void)state;
	for (i = 0; i < 8; i++)
		iov[i] = (struct iovec){buf + i * PAGE, PAGE};
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 16 * PAGE);
	io_fault_fail_range(world.contents, 3 * PAGE, PAGE, EIO);
	assert_int_equal(folio_file_readv(world.file, iov, 8, 0, 0), 3 * PAGE);
	assert_int_equal(folio_file_readv(world.file, iov, 8, 3 * PAGE, 0), -EIO);
	/* Also if a part of the page is for another buffer. */
	iov[0].iov_len = 10;
	assert_int_equal(folio_file_readv(world.file, iov, 8, 3 * PAGE, 0), -EIO);
	io_fault_fail_range(world.contents, 0, 0, 0);
	assert_int_equal(
		folio_file_readv(world.file, iov, 8, 3 * PAGE, FOLIO_READ_ONCE), 7 * PAGE + 10);
	assert_true(io_fault_check(world.contents, 3 * PAGE, buf, 10, NULL, NULL));
	/* The end of the file, in the second buffer. */
	assert_int_equal(folio_file_readv(world.file, iov, 8, 15 * PAGE, 0), PAGE);
	assert_int_equal(folio_file_readv(world.file, iov, 8, 16 * PAGE, 0), 0);
	world_end(&world);
}

/* Neither a call that may not wait nor one whose time is up waits for a device that is stuck. */
static void test_no_wait(void **state)
{
	static char buf[2 * FOLIO_PAGE_SIZE];
	struct iovec iov[2] = {{buf, PAGE}, {buf + PAGE, PAGE}};
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 64 * PAGE,
		.flags = FOLIO_CACHE_NO_READAHEAD,
		.timeout_ms = 20,
		.io = &io_fault_ops};
	struct world world;

	(void)state;
	world.io = io_fault_new(test_seed, THREADS);
	world.contents = io_fault_add(world.io, "a", 10 * PAGE);
	params.io_context = world.io;
	assert_int_equal(folio_cache_open(&params, &world.cache), 0);
	world.file = file_open(world.cache, "a");
	expect_read(&world, 0, PAGE, 1);
	/* By the advice of the handle, the pages leave the hot set unchanged. */
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_ONCE), 0);
	assert_int_equal(folio_file_readv(world.file, iov, 2, 8 * PAGE, 0), 2 * PAGE);
	assert_int_equal(
		entry_folio(tree_load(&world.file->inode->tree, 8))->refault, REFAULT_ONCE);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_NORMAL), 0);
	io_fault_hold(world.io);
	assert_int_equal(folio_file_readv(world.file, iov, 2, 0, FOLIO_READ_NOWAIT), PAGE);
	assert_int_equal(folio_file_readv(world.file, iov, 2, PAGE, FOLIO_READ_NOWAIT), -EAGAIN);
	assert_int_equal(folio_file_readv(world.file, iov, 2, PAGE, 0), -ETIMEDOUT);
	assert_int_equal(folio_file_readv(world.file, iov, 2, 0, 0), PAGE);
	io_fault_release(world.io, UINT64_MAX);
	io_fault_wait_idle(world.io);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_tight),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_writable),
		cmocka_unit_test(test_page_of_one_moment),
		cmocka_unit_test(test_page_written_once),
		cmocka_unit_test(test_one_fill),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_no_wait),
	};

	test_begin("vector");
	return cmocka_run_group_tests_name("vector", tests, NULL, NULL);
}
