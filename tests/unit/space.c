/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a file has data, against a model; space that is reserved; backends that lie or refuse. */
#include <sys/resource.h>
#include <sys/stat.h>

#include <folio/space.h>

#include "write-world.h"

#define EXTENTS_MAX 64

/* What the backend says the file has, whatever it has. */
static struct folio_io_extent said[EXTENTS_MAX];
static unsigned said_count, most; /* at most so many extents in one call; 0: the end */
static int said_error;

static int say(void *context, void *handle, uint64_t offset, struct folio_io_extent *extents,
	unsigned count)
{
	uint64_t begin = 0;
	unsigned i, found = 0;

	(void)context;
	(void)handle;
	if (said_error)
		return said_error;
	if (count > most)
		count = most;
	for (i = 0; i < said_count && found < count; i++) {
		uint64_t end = begin + said[i].bytes;

		if (end > offset || (!said[i].bytes && begin >= offset)) {
			extents[found] = said[i];
			extents[found++].bytes = end - (begin > offset ? begin : offset);
		}
		begin = end;
	}
	return (int)found;
}

static struct {
	uint64_t offset, len;
	unsigned calls;
	int error;
} reserved;

static int reserve(void *context, void *handle, uint64_t offset, uint64_t len)
{
	(void)context;
	(void)handle;
	reserved.offset = offset;
	reserved.len = len;
	reserved.calls++;
	return reserved.error;
}

static struct folio_io_ops ops;
static void (*submit)(void *context, struct folio_io_request **requests, unsigned count);
static struct world world;
static unsigned in_writeback; /* pages that were found to be data while they were written */

/* A page in write-back, which is no longer dirty and not yet in the file, is data. */
static void seek_and_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		if (requests[i]->op != FOLIO_IO_WRITE)
			continue;
		assert_int_equal(folio_file_seek(world.file, requests[i]->offset, SEEK_DATA),
			requests[i]->offset);
		assert_true(folio_file_seek(world.file, requests[i]->offset, SEEK_HOLE) >
			    (int64_t)requests[i]->offset);
		in_writeback++;
	}
	submit(context, requests, count);
}

static void begin(unsigned pages)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .dirty_age_ms = UINT32_MAX};
	int fd;

	memset(&world, 0, sizeof(world));
	memset(&reserved, 0, sizeof(reserved));
	said_count = said_error = 0;
	most = EXTENTS_MAX;
	ops = folio_io_threads;
	submit = ops.submit;
	ops.submit = seek_and_submit;
	ops.extents = say;
	ops.allocate = reserve;
	params.io = &ops;
	snprintf(world.path, sizeof(world.path), "folio-space-XXXXXX");
	fd = mkstemp(world.path);
	assert_true(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
	close(fd);
	world_open(&world, &params);
}

/* The model: of each byte whether it is data. Byte by byte, so the file is small. */
#define SEEK_PAGES 12

static bool data[SEEK_PAGES * FOLIO_PAGE_SIZE];

static int64_t seek_model(uint64_t offset, uint64_t size, bool wanted)
{
	if (offset >= size)
		return -ENXIO;
	for (; offset < size; offset++)
		if (data[offset] == wanted)
			return (int64_t)offset;
	return wanted ? -ENXIO : (int64_t)size;
}

static void draw(uint64_t *random, uint64_t size)
{
	uint64_t at = 0, bytes;

	memset(data, 0, sizeof(data));
	for (said_count = 0; said_count < EXTENTS_MAX && at < size; said_count++) {
		bytes = random_below(random, 2) ? 1 + random_below(random, 3 * PAGE)
						: PAGE * (1 + random_below(random, 3));
		if (bytes > size - at)
			bytes = size - at;
		said[said_count] = (struct folio_io_extent){
			.bytes = bytes, .kind = (uint32_t)random_below(random, 3)};
		if (said[said_count].kind == FOLIO_IO_DATA)
			memset(data + at, true, bytes);
		at += bytes;
	}
	/* The backend's file may be shorter. */
	if (random_below(random, 3) == 0)
		while (said_count && said[said_count - 1].kind != FOLIO_IO_DATA)
			said_count--;
}

static void test_seek_model(void **state)
{
	uint64_t random = test_seed, size, offset;
	unsigned round, i;

	(void)state;
	for (round = 0; round < scaled(40); round++) {
		begin(SEEK_PAGES);
		size = SEEK_PAGES * PAGE - random_below(&random, PAGE);
		assert_int_equal(folio_file_truncate(world.file, size), 0);
		draw(&random, size);
		most = 1 + (unsigned)random_below(&random, 4);
		for (i = (unsigned)random_below(&random, 5); i > 0; i--) {
			uint64_t page = random_below(&random, SEEK_PAGES);

			assert_int_equal(folio_file_write(world.file, "x", 1, page * PAGE), 1);
			memset(data + page * PAGE, true, PAGE);
		}
		for (i = 0; i < 60; i++) {
			offset = i % 2 ? random_below(&random, size + PAGE)
				       : random_below(&random, SEEK_PAGES + 1) * PAGE;
			assert_int_equal(folio_file_seek(world.file, offset, SEEK_DATA),
				seek_model(offset, size, true));
			assert_int_equal(folio_file_seek(world.file, offset, SEEK_HOLE),
				seek_model(offset, size, false));
		}
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
		world_end(&world);
	}
	assert_true(in_writeback > 0);
}

/* The library's backends, against lseek. */
static void test_seek_file(void **state)
{
	static const struct folio_io_ops *const backends[] = {&folio_io_threads, &folio_io_uring};
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE};
	char path[] = "folio-space-XXXXXX";
	struct folio_file *file[2];
	struct folio_cache *cache;
	int fd = mkstemp(path), i, way;
	uint64_t page;

	(void)state;
	assert_true(fd >= 0);
	for (page = 3; page < 100; page += 1 + page % 17)
		assert_int_equal(pwrite(fd, "x", 1, (off_t)(page * 16 * PAGE)), 1);
	assert_int_equal(ftruncate(fd, 2000 * PAGE + 77), 0);
	for (i = 0; i < 2; i++) {
		params.io = backends[i];
		if (folio_cache_open(&params, &cache)) {
			printf("# no backend %s\n", backends[i]->name);
			continue;
		}
		/* The first handle is asked: that of the program's descriptor. */
		assert_int_equal(folio_file_open_fd(cache, fd, O_RDWR, &file[1]), 0);
		assert_int_equal(folio_file_open(cache, path, O_RDONLY, 0, &file[0]), 0);
		for (page = 0; page < 2010; page += 3) {
			int64_t want[2] = {lseek(fd, (off_t)(page * PAGE), SEEK_DATA),
				lseek(fd, (off_t)(page * PAGE), SEEK_HOLE)};

			assert_int_equal(lseek(fd, 12345, SEEK_SET), 12345);
			for (way = 0; way < 2; way++) {
				assert_int_equal(folio_file_seek(file[way], page * PAGE, SEEK_DATA),
					want[0] < 0 ? -ENXIO : want[0]);
				assert_int_equal(folio_file_seek(file[way], page * PAGE, SEEK_HOLE),
					want[1] < 0 ? -ENXIO : want[1]);
			}
			assert_int_equal(lseek(fd, 0, SEEK_CUR), 12345);
		}
		assert_int_equal(folio_file_close(file[0]), 0);
		assert_int_equal(folio_file_close(file[1]), 0);
		assert_int_equal(folio_cache_close(cache), 0);
	}
	close(fd);
	unlink(path);
}

static void test_seek_errors(void **state)
{
	(void)state;
	begin(3);
	assert_int_equal(folio_file_seek(NULL, 0, SEEK_DATA), -EINVAL);
	assert_int_equal(folio_file_seek(world.file, 0, SEEK_SET), -EINVAL);
	assert_int_equal(folio_file_seek(world.file, 3 * PAGE, SEEK_DATA), -ENXIO);
	assert_int_equal(folio_file_seek(world.file, UINT64_MAX, SEEK_HOLE), -ENXIO);
	said_error = -EIO;
	assert_int_equal(folio_file_seek(world.file, 0, SEEK_DATA), -EIO);
	assert_int_equal(folio_file_seek(world.file, 0, SEEK_HOLE), -EIO);
	/* It would be asked for ever. */
	said_error = 0;
	said[0] = (struct folio_io_extent){.kind = FOLIO_IO_HOLE};
	said_count = 1;
	assert_int_equal(folio_file_seek(world.file, 0, SEEK_DATA), -EIO);
	said[0].kind = FOLIO_IO_DATA;
	assert_int_equal(folio_file_seek(world.file, 0, SEEK_HOLE), -EIO);
	world_end(&world);
	ops.extents = NULL;
	{
		struct folio_cache_params params = {
			.size = sizeof(params), .bytes = 64 * PAGE, .io = &ops};
		char path[] = "folio-space-XXXXXX";
		struct folio_cache *cache;
		struct folio_file *file;
		int fd = mkstemp(path);

		assert_true(fd >= 0 && ftruncate(fd, 100) == 0);
		close(fd);
		assert_int_equal(folio_cache_open(&params, &cache), 0);
		assert_int_equal(folio_file_open(cache, path, O_RDONLY, 0, &file), 0);
		assert_int_equal(folio_file_seek(file, 7, SEEK_DATA), 7);
		assert_int_equal(folio_file_seek(file, 7, SEEK_HOLE), 100);
		assert_int_equal(folio_file_close(file), 0);
		assert_int_equal(folio_cache_close(cache), 0);
		unlink(path);
	}
}

static void test_allocate(void **state)
{
	char byte = 'x';

	(void)state;
	begin(4);
	assert_int_equal(folio_file_allocate(world.file, PAGE, 10, 0), 0);
	assert_int_equal(reserved.offset, PAGE);
	assert_int_equal(reserved.len, 10);
	/* The file ends after the range: it stays as long as it is. */
	assert_int_equal(folio_file_size(world.file), 4 * PAGE);
	assert_int_equal(
		folio_file_allocate(world.file, 3 * PAGE, 9 * PAGE, FOLIO_ALLOCATE_KEEP_SIZE), 0);
	assert_int_equal(folio_file_size(world.file), 4 * PAGE);
	assert_int_equal(folio_file_allocate(world.file, 3 * PAGE, 5 * PAGE + 7, 0), 0);
	assert_int_equal(folio_file_size(world.file), 8 * PAGE + 7);
	assert_int_equal(folio_file_read(world.file, &byte, 1, 8 * PAGE + 6), 1);
	assert_int_equal(byte, 0);
	assert_int_equal(reserved.calls, 3);
	reserved.error = -ENOSPC;
	assert_int_equal(folio_file_allocate(world.file, 0, 100 * PAGE, 0), -ENOSPC);
	assert_int_equal(folio_file_size(world.file), 8 * PAGE + 7);
	world_end(&world);
}

static void test_allocate_arguments(void **state)
{
	struct rlimit before, limit;
	struct folio_file *reader;

	(void)state;
	begin(4);
	assert_int_equal(folio_file_allocate(NULL, 0, 1, 0), -EINVAL);
	assert_int_equal(folio_file_allocate(world.file, 0, 0, 0), -EINVAL);
	assert_int_equal(folio_file_allocate(world.file, 0, 1, 2), -EINVAL);
	assert_int_equal(folio_file_allocate(world.file, INT64_MAX, 1, 0), -EFBIG);
	assert_int_equal(folio_file_allocate(world.file, 1, UINT64_MAX, 0), -EFBIG);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_allocate(reader, 0, 1, 0), -EBADF);
	assert_int_equal(folio_file_close(reader), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 10 * PAGE;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(folio_file_allocate(world.file, 0, 10 * PAGE + 1, 0), -EFBIG);
	assert_int_equal(reserved.calls, 0);
	assert_int_equal(folio_file_allocate(world.file, 0, 10 * PAGE, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(folio_file_size(world.file), 10 * PAGE);
	/* The backend of this cache has lost it. */
	world.cache->program_io.allocate = NULL;
	assert_int_equal(folio_file_allocate(world.file, 0, 1, 0), -EOPNOTSUPP);
	world_end(&world);
}

/* The library's backend reserves blocks, which the size does not show. */
static void test_allocate_file(void **state)
{
	struct stat before, after;
	int r;

	(void)state;
	world_begin(&world, 64, 16);
	assert_int_equal(stat(world.path, &before), 0);
	r = folio_file_allocate(world.file, 0, 64 * PAGE, FOLIO_ALLOCATE_KEEP_SIZE);
	if (r == -EOPNOTSUPP) {
		printf("# skipped: the file system reserves no space\n");
	} else {
		assert_int_equal(r, 0);
		assert_int_equal(stat(world.path, &after), 0);
		assert_int_equal(after.st_size, 0);
		assert_true(after.st_blocks >= before.st_blocks + (blkcnt_t)(64 * PAGE / 512));
		assert_int_equal(folio_file_allocate(world.file, 0, 64 * PAGE, 0), 0);
		assert_int_equal(stat(world.path, &after), 0);
		assert_int_equal(after.st_size, 64 * PAGE);
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seek_model),
		cmocka_unit_test(test_seek_file),
		cmocka_unit_test(test_seek_errors),
		cmocka_unit_test(test_allocate),
		cmocka_unit_test(test_allocate_arguments),
		cmocka_unit_test(test_allocate_file),
	};

	test_begin("space");
	alarm(300);
	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
