/* SPDX-License-Identifier: BSD-2-Clause */
/* Request slots: no more requests than the backend has depth, and a slot for each completion. */
#include "stalled-device.h"
#include "io/file.h"

/*
 * All memory and all request slots are in use at the device: every call ends, and no more requests
 * are submitted than the depth.
 */
static void test_exhausted(void **state)
{
	struct folio *taken[64] = {NULL};
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	uint64_t i, n = 0;
	int r;

	(void)state;
	world_begin(&world, 64, 24);
	device_stop(&world.device);
	for (i = 0; i < 100; i++) {
		/* Three of four do not wait, so that the test is fast. */
		if (i % 4)
			r = (int)folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE);
		else
			r = (int)folio_file_read(world.file, page, PAGE, i * 3 * PAGE);
		assert_true(r == -ETIMEDOUT || r == -EAGAIN);
		assert_in_range(world.device.held, 0, 24);
	}
	assert_int_equal(world.device.held, 24);
	/* A page is free, but no request slot. */
	assert_int_equal(folio_file_read(world.file, page, PAGE, 399 * PAGE), -ETIMEDOUT);
	while ((r = folio_alloc(world.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &taken[n])) == 0)
		n++;
	assert_int_equal(r, -ETIMEDOUT);
	assert_int_equal(n, 64 - 24);
	assert_int_equal(folio_file_read(world.file, page, PAGE, 398 * PAGE), -ETIMEDOUT);
	device_go(&world.device);
	for (i = 0; i < n; i++)
		folio_put(taken[i]);
	for (i = 0; i < FILE_PAGES; i++)
		check_page(&world, i);
	world_end(&world);
}

/*
 * A backend whose thread completes all requests that it holds, and counts them as in flight until
 * the last one is complete: a caller that takes the slot of a completed request need not wait for
 * the others.
 */
static void test_slots(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct folio_io_request *request;
	struct world world;
	unsigned batch = 0;
	uint64_t i;

	(void)state;
	world_begin(&world, 128, 16);
	device_stop(&world.device);
	for (i = 0; i < 17; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE), -EAGAIN);
	/* All slots are taken; there was none for the last request. */
	assert_int_equal(world.device.held, 16);
	request = world.device.first;
	world.device.first = NULL;
	world.device.last = &world.device.first;
	world.device.held = 0;
	while (request) {
		struct folio_io_request *next = request->next;

		batch++;
		request->complete(
			request, folio_io_threads.read(NULL, request->handle, request->iov,
					 request->iov_count, request->offset));
		request = next;
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, (200 + batch * 3) * PAGE),
			-EAGAIN);
		assert_int_equal(world.device.held, batch);
		assert_in_range(16 + world.device.held, 16, world.device.depth);
	}
	assert_int_equal(batch, 16);
	device_go(&world.device);
	for (i = 0; i < FILE_PAGES; i++)
		check_page(&world, i);
	world_end(&world);
}

/*
 * The library's io_uring backend, with a pipe in place of the file: it completes when something is
 * written.
 */
#define SLOW_DEPTH 16

struct slow {
	struct folio_file *file;
	folio_u32 next, back;
};

static void *slow_reader(void *arg)
{
	struct slow *slow = arg;
	uint64_t index = 4001 + 2 * folio_u32_fetch_add_relaxed(&slow->next, 1);
	char buf[100];
	ssize_t r = folio_file_read(slow->file, buf, sizeof(buf), index * PAGE);

	assert_true(r == -ETIMEDOUT || r == sizeof(buf));
	folio_u32_fetch_add_relaxed(&slow->back, 1);
	return NULL;
}

static void test_slots_uring(void **state)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 2048 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD,
		.io_depth = SLOW_DEPTH,
		.io = &folio_io_uring,
		.timeout_ms = TIMEOUT_MS,
	};
	char path[] = "folio-wait-XXXXXX", buf[100], *answers = calloc(SLOW_DEPTH, PAGE);
	int fd = mkstemp(path), end[2], r, held;
	struct folio_cache *cache;
	struct slow slow = {NULL};
	pthread_t thread[4];
	unsigned round, i;

	(void)state;
	assert_true(answers && fd >= 0 && ftruncate(fd, (off_t)(20000 * PAGE)) == 0);
	r = folio_cache_open(&params, &cache);
	if (r) {
		printf("# io_uring is unavailable: %d\n", r);
		goto out;
	}
	assert_int_equal(folio_file_open(cache, path, O_RDONLY, 0, &slow.file), 0);
	assert_int_equal(pipe(end), 0);
	/* The descriptor stays the backend's, but now refers to the pipe. The ring reads that. */
	((struct io_file *)slow.file->inode->handle)->blocks = false;
	held = ((struct io_file *)slow.file->inode->handle)->fd;
	assert_int_equal(dup2(end[0], held), held);
	for (i = 0; i < SLOW_DEPTH; i++)
		assert_int_equal(
			folio_file_read_nowait(slow.file, buf, sizeof(buf), 2 * i * PAGE), -EAGAIN);
	for (round = 0; round < scaled(40); round++) {
		folio_u32_store_relaxed(&slow.back, 0);
		for (i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, slow_reader, &slow), 0);
		assert_int_equal(
			write(end[1], answers, (round % 4 + 1) * PAGE), (round % 4 + 1) * PAGE);
		for (i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		assert_int_equal(folio_u32_load_relaxed(&slow.back), 4);
	}
	close(end[1]); /* The end of the file for all requests. */
	do
		r = folio_file_close(slow.file);
	while (r == -ETIMEDOUT);
	assert_int_equal(r, 0);
	close(end[0]);
	wait_until(cache_stats(cache).pages_free == 2048);
	assert_int_equal(folio_cache_close(cache), 0);
out:
	close(fd);
	unlink(path);
	free(answers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exhausted),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_slots_uring),
	};

	test_begin("inflight");
	alarm(300);
	return cmocka_run_group_tests_name("inflight", tests, NULL, NULL);
}
