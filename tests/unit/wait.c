/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait.c - calls that end in time on a device that stops to answer (folio_cache_params.timeout_ms): none hangs, nothing is
 * lost, and when the device answers again everything goes on.
 */
#include <pthread.h>

#include "cache-test.h"
#include "io.h"

#define TIMEOUT_MS 20

/* The library's threads; while stopped nothing gets to them, or back. */
struct device {
	void *inner;
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool stopped;
	bool refuses; /* to write */
	bool uncut;   /* refuses to truncate */
	unsigned depth, held;
	struct folio_io_request *first, **last;
};

static int device_create(void **context, unsigned depth)
{
	struct device *device = *context;

	device->depth = depth;
	return folio_io_threads.create(&device->inner, depth);
}

static void device_destroy(void *context)
{
	folio_io_threads.destroy(((struct device *)context)->inner);
}

static void pass(struct device *device, struct folio_io_request *request)
{
	if (request->op == FOLIO_IO_WRITE && device->refuses)
		request->complete(request, -EIO);
	else
		folio_io_threads.submit(device->inner, &request, 1);
}

static void device_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct device *device = context;
	unsigned i;

	for (i = 0; i < count; i++) {
		bool held;

		pthread_mutex_lock(&device->lock);
		held = device->stopped;
		if (held) {
			requests[i]->next = NULL;
			*device->last = requests[i];
			device->last = &requests[i]->next;
			device->held++;
			pthread_cond_broadcast(&device->change);
		}
		pthread_mutex_unlock(&device->lock);
		if (!held)
			pass(device, requests[i]);
	}
}

static void answer(struct device *device)
{
	pthread_mutex_lock(&device->lock);
	while (device->stopped)
		pthread_cond_wait(&device->change, &device->lock);
	pthread_mutex_unlock(&device->lock);
}

static ssize_t device_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	answer(context);
	return folio_io_threads.read(NULL, handle, iov, iov_count, offset);
}

static int device_sync(void *context, void *handle, unsigned flags)
{
	answer(context);
	return folio_io_threads.sync(NULL, handle, flags);
}

static int device_truncate(void *context, void *handle, uint64_t size)
{
	answer(context);
	if (((struct device *)context)->uncut)
		return -EIO;
	return folio_io_threads.truncate(NULL, handle, size);
}

static int device_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	answer(context);
	return folio_io_threads.punch(NULL, handle, offset, len);
}

static void device_stop(struct device *device)
{
	pthread_mutex_lock(&device->lock);
	device->stopped = true;
	pthread_mutex_unlock(&device->lock);
}

static void device_go(struct device *device)
{
	struct folio_io_request *request;

	pthread_mutex_lock(&device->lock);
	device->stopped = false;
	request = device->first;
	device->first = NULL;
	device->last = &device->first;
	device->held = 0;
	pthread_cond_broadcast(&device->change);
	pthread_mutex_unlock(&device->lock);
	while (request) {
		struct folio_io_request *next = request->next;

		pass(device, request);
		request = next;
	}
}

static void wait_held(struct device *device, unsigned count)
{
	pthread_mutex_lock(&device->lock);
	while (device->held < count)
		pthread_cond_wait(&device->change, &device->lock);
	pthread_mutex_unlock(&device->lock);
}

/* A cache on such a device, and a file of it, each page of which has its number everywhere. */
#define FILE_PAGES 400

struct world {
	struct device device;
	struct folio_io_ops ops;
	struct folio_cache *cache;
	struct folio_file *file;
	char path[32];
	int fd;
};

static void fill_page(unsigned char *page, uint64_t number)
{
	size_t i;

	for (i = 0; i < PAGE; i++)
		page[i] = (unsigned char)(number * 7 + i / 64);
}

static void world_begin(struct world *world, uint64_t pages, unsigned depth)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD,
		.io_depth = depth,
		.io = &world->ops,
		.io_context = &world->device,
		.dirty_age_ms = UINT32_MAX,
		.timeout_ms = TIMEOUT_MS,
	};
	unsigned char page[FOLIO_PAGE_SIZE];
	uint64_t i;

	memset(world, 0, sizeof(*world));
	pthread_mutex_init(&world->device.lock, NULL);
	pthread_cond_init(&world->device.change, NULL);
	world->device.last = &world->device.first;
	world->ops = folio_io_threads;
	world->ops.create = device_create;
	world->ops.destroy = device_destroy;
	world->ops.read = device_read;
	world->ops.submit = device_submit;
	world->ops.sync = device_sync;
	world->ops.truncate = device_truncate;
	world->ops.punch = device_punch;
	strcpy(world->path, "folio-wait-XXXXXX");
	world->fd = mkstemp(world->path);
	assert_true(world->fd >= 0);
	for (i = 0; i < FILE_PAGES; i++) {
		fill_page(page, i);
		assert_int_equal(pwrite(world->fd, page, PAGE, (off_t)(i * PAGE)), PAGE);
	}
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	assert_int_equal(folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
}

/* Time may be too short for a busy machine: whoever is told so asks again. */
#define UNTIL_IN_TIME(call) \
	do                  \
		r = (call); \
	while (r == -ETIMEDOUT)

static void world_end(struct world *world)
{
	uint64_t pages = cache_stats(world->cache).pages;
	int r;

	UNTIL_IN_TIME(folio_file_close(world->file));
	assert_int_equal(r, 0);
	/* The evictor may hold a page for a moment that its file has let go of. */
	wait_until(cache_stats(world->cache).pages_free == pages);
	assert_int_equal(folio_cache_close(world->cache), 0);
	close(world->fd);
	unlink(world->path);
	pthread_cond_destroy(&world->device.change);
	pthread_mutex_destroy(&world->device.lock);
}

static void check_page(struct world *world, uint64_t index)
{
	unsigned char page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	ssize_t r;

	UNTIL_IN_TIME(folio_file_read(world->file, got, PAGE, index * PAGE));
	assert_int_equal(r, PAGE);
	fill_page(page, index);
	assert_memory_equal(got, page, PAGE);
}

/* Pages that are there are read; a wait for others ends, and what it waited for comes when the device answers. */
static void test_read(void **state)
{
	unsigned char buf[3 * FOLIO_PAGE_SIZE];
	struct folio_range range = {20 * PAGE, 8 * PAGE};
	static char several[6][FOLIO_PAGE_SIZE];
	struct folio_read reads[6];
	struct world world;
	struct folio *folio;
	uint64_t i, fills;

	(void)state;
	world_begin(&world, 128, 16);
	for (i = 0; i < 4; i++)
		check_page(&world, i);
	device_stop(&world.device);
	for (i = 0; i < 4; i++)
		check_page(&world, i);
	fills = cache_stats(world.cache).fills;
	assert_int_equal(folio_file_read(world.file, buf, 100, 7 * PAGE), -ETIMEDOUT);
	assert_int_equal(cache_stats(world.cache).fills, fills + 1);
	/* It is on its way: nobody asks for it again. */
	assert_int_equal(folio_file_read(world.file, buf, 100, 7 * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_get(world.file, 7, 0, &folio), -ETIMEDOUT);
	assert_int_equal(cache_stats(world.cache).fills, fills + 1);
	assert_int_equal(folio_file_get(world.file, 8, 0, &folio), -ETIMEDOUT);
	assert_int_equal(folio_file_get(world.file, 8, FOLIO_GET_NOWAIT, &folio), -EAGAIN);
	/* What could be had. */
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 2 * PAGE), 2 * PAGE);
	for (i = 0; i < 6; i++)
		reads[i] = (struct folio_read){several[i], PAGE, (i % 2 ? 1 : 30 + i) * PAGE, 0};
	assert_int_equal(folio_file_read_batch(world.file, reads, 6, 0), 0);
	for (i = 0; i < 6; i++)
		assert_int_equal(reads[i].result, i % 2 ? (ssize_t)PAGE : -ETIMEDOUT);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 8);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	device_go(&world.device);
	for (i = 0; i < 30; i++)
		check_page(&world, i);
	assert_int_equal(folio_file_get(world.file, 7, 0, &folio), 0);
	folio_put(folio);
	world_end(&world);
}

/* All memory and all requests are on the device: every call ends, and no more requests are made than were allowed. */
static void test_nothing_left(void **state)
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
		/* Three of four by who does not wait, so that the test does not. */
		if (i % 4)
			r = (int)folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE);
		else
			r = (int)folio_file_read(world.file, page, PAGE, i * 3 * PAGE);
		assert_true(r == -ETIMEDOUT || r == -EAGAIN);
		assert_in_range(world.device.held, 0, 24);
	}
	assert_int_equal(world.device.held, 24);
	/* A page is there still, but no request for it. */
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

/* A smaller budget waits for nobody longer than it may, and is tried again. */
static void test_resize(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	uint64_t i;
	int r;

	(void)state;
	world_begin(&world, 128, 128);
	device_stop(&world.device);
	for (i = 0; i < 100; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE), -EAGAIN);
	assert_int_equal(folio_cache_resize(world.cache, 64 * PAGE), -ETIMEDOUT);
	assert_in_range(cache_stats(world.cache).pages, 100, 127);
	device_go(&world.device);
	UNTIL_IN_TIME(folio_cache_resize(world.cache, 64 * PAGE));
	assert_int_equal(r, 0);
	for (i = 0; i < FILE_PAGES; i++)
		check_page(&world, i);
	world_end(&world);
}

static void write_page(struct world *world, uint64_t index, uint64_t number)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	ssize_t r;

	fill_page(page, number);
	UNTIL_IN_TIME(folio_file_write(world->file, page, PAGE, index * PAGE));
	assert_int_equal(r, PAGE);
}

static void check_file(struct world *world, uint64_t index, uint64_t number)
{
	unsigned char page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];

	fill_page(page, number);
	assert_int_equal(pread(world->fd, got, PAGE, (off_t)(index * PAGE)), PAGE);
	assert_memory_equal(got, page, PAGE);
}

static void test_write(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct folio_file *other;
	struct folio *folio;
	struct world world;
	uint64_t i;
	ssize_t r;

	(void)state;
	world_begin(&world, 128, 128);
	for (i = 0; i < 8; i++)
		write_page(&world, i, 1000 + i);
	/* The file's last page, so that who writes behind the end has to wait for it. */
	write_page(&world, FILE_PAGES - 1, 2000);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	wait_held(&world.device, 2);
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), -ETIMEDOUT);
	/* On its way: not changed, read nevertheless. */
	fill_page(page, 3000);
	assert_int_equal(folio_file_write(world.file, page, PAGE, 3 * PAGE), -ETIMEDOUT);
	assert_int_equal(
		folio_file_write(world.file, page, PAGE, (FILE_PAGES + 5) * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_size(world.file), FILE_PAGES * PAGE);
	assert_int_equal(folio_file_get(world.file, 3, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), -ETIMEDOUT);
	fill_page(page, 1003);
	assert_memory_equal(folio_page(folio, 3), page, PAGE);
	folio_put(folio);
	/* Other pages are written, until too much is dirty. */
	for (i = 0; i < 64; i++) {
		fill_page(page, 1100 + i);
		r = folio_file_write(world.file, page, PAGE, (100 + i) * PAGE);
		if (r != (ssize_t)PAGE)
			break;
	}
	assert_int_equal(r, -ETIMEDOUT);
	assert_in_range(i, 16, 40);
	assert_int_equal(folio_file_truncate(world.file, PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_punch(world.file, 0, 8 * PAGE), -ETIMEDOUT);
	/* One that goes on has the handle still, also when another is open. */
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &other), 0);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_file_abandon(world.file), -ETIMEDOUT);
	device_go(&world.device);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	/* Truncation and hole were not begun: the sync was before them. */
	for (i = 0; i < 8; i++)
		check_file(&world, i, 1000 + i);
	check_file(&world, FILE_PAGES - 1, 2000);
	check_file(&world, 100, 1100);
	UNTIL_IN_TIME(folio_file_close(other));
	assert_int_equal(r, 0);
	world_end(&world);
}

/* A truncation goes on, and comes about. */
static void test_truncate(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 10, 1010);
	device_stop(&world.device);
	assert_int_equal(folio_file_truncate(world.file, 11 * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_abandon(world.file), -ETIMEDOUT);
	device_go(&world.device);
	wait_until(!folio_u32_load_acquire(&world.file->inode->late));
	assert_int_equal(folio_file_size(world.file), 11 * PAGE);
	world_end(&world);
}

/* The last close writes: not in time, then it does. */
static void test_close(void **state)
{
	struct world world;
	uint64_t i;

	(void)state;
	world_begin(&world, 128, 128);
	for (i = 0; i < 20; i++)
		write_page(&world, i, 1000 + i);
	device_stop(&world.device);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	device_go(&world.device);
	for (i = 0; i < 20; i++)
		check_page(&world, 30 + i);
	wait_until(!cache_stats(world.cache).pages_dirty);
	for (i = 0; i < 20; i++)
		check_file(&world, i, 1000 + i);
	world_end(&world);
}

/* Who gives a file up has its pages written, or is told why not. */
static void test_abandon(void **state)
{
	struct folio_file *other;
	struct world world;
	int r;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 3, 1003);
	UNTIL_IN_TIME(folio_file_abandon(world.file));
	assert_int_equal(r, 0);
	check_file(&world, 3, 1003);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	write_page(&world, 3, 1004);
	world.device.refuses = true;
	/* Others have it open. */
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &other), 0);
	UNTIL_IN_TIME(folio_file_abandon(other));
	assert_int_equal(r, 0);
	UNTIL_IN_TIME(folio_file_abandon(world.file));
	assert_int_equal(r, -EIO);
	check_file(&world, 3, 1003);
	world.device.refuses = false;
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	world_end(&world);
}

/* An open that fails leaves nothing open, also beside a call that goes on. */
static void test_open_fails(void **state)
{
	struct folio_file *other;
	struct world world;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 3, 1003);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	wait_held(&world.device, 1);
	world.device.uncut = true;
	device_go(&world.device);
	assert_int_equal(
		folio_file_open(world.cache, world.path, O_RDWR | O_TRUNC, 0, &other), -EIO);
	assert_int_equal(world.cache->files_open, 1);
	world.device.uncut = false;
	world_end(&world);
}

/*
 * A backend whose thread completes all that it holds, and counts it as in flight until the last is complete: who takes the room
 * that a completion gives is not made to wait for the others.
 */
static void test_room(void **state)
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
	/* All the room is given out; for the last there was none. */
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

/* The library's own backend, with a pipe in the place of the file: it answers when something is written. */
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

static void test_room_uring(void **state)
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
		printf("# no io_uring here: %d\n", r);
		goto out;
	}
	assert_int_equal(folio_file_open(cache, path, O_RDONLY, 0, &slow.file), 0);
	assert_int_equal(pipe(end), 0);
	/* The descriptor stays the backend's; what it leads to is ours. */
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
	close(end[1]); /* The end of the file for all that wait. */
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

/* Nobody was there any more when a sync failed: the next one tells, once. */
static void test_error_is_told(void **state)
{
	struct world world;
	int r;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 3, 1003);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	wait_held(&world.device, 1);
	world.device.refuses = true;
	device_go(&world.device);
	wait_until(!folio_u32_load_acquire(&world.file->inode->late));
	world.device.refuses = false;
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, -EIO);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	check_file(&world, 3, 1003);
	world_end(&world);
}

/* Threads with pages of their own, on a device that stops and goes. */
#define THREADS 6

struct worker {
	struct world *world;
	unsigned number;
	folio_u32 *stop;
	uint64_t calls;
	folio_u64 late;
	uint64_t has[FILE_PAGES];
	pthread_t thread;
};

static void work_once(struct worker *worker, uint64_t *random)
{
	uint64_t index = random_below(random, FILE_PAGES / THREADS) * THREADS + worker->number;
	unsigned char page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	struct folio_file *file = worker->world->file;
	struct folio *folio;
	uint64_t number;
	ssize_t r;

	switch (random_below(random, 8)) {
	case 0:
		r = folio_file_sync(file, NULL, 0);
		break;
	case 1:
	case 2:
		number = random_below(random, 1 << 20);
		fill_page(page, number);
		r = folio_file_write(file, page, PAGE, index * PAGE);
		if (r == (ssize_t)PAGE)
			worker->has[index] = number;
		break;
	case 3:
		r = folio_file_get(file, index, 0, &folio);
		if (r)
			break;
		fill_page(page, worker->has[index]);
		assert_memory_equal(folio_page(folio, index), page, PAGE);
		r = folio_lock(folio);
		if (!r) {
			number = random_below(random, 1 << 20);
			fill_page(folio_page(folio, index), number);
			r = folio_mark_dirty(folio, 0);
			folio_unlock(folio);
			assert_int_equal(r, 0);
			worker->has[index] = number;
		}
		folio_put(folio);
		if (r == -ENODATA)
			r = 0;
		break;
	default:
		r = folio_file_read(file, got, PAGE, index * PAGE);
		if (r == (ssize_t)PAGE) {
			fill_page(page, worker->has[index]);
			assert_memory_equal(got, page, PAGE);
		}
	}
	assert_true(r >= 0 || r == -ETIMEDOUT || r == -ENOMEM);
	worker->calls++;
	if (r == -ETIMEDOUT)
		folio_u64_fetch_add_relaxed(&worker->late, 1);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	uint64_t random = test_seed + worker->number;

	while (!folio_u32_load_relaxed(worker->stop))
		work_once(worker, &random);
	return NULL;
}

static void test_stop_and_go(void **state)
{
	static struct worker worker[THREADS];
	uint64_t random = test_seed, calls = 0, late = 0, i;
	struct world world;
	folio_u32 stop;
	unsigned round, t;
	int r;

	(void)state;
	world_begin(&world, 64, 16);
	folio_u32_store_relaxed(&stop, 0);
	for (t = 0; t < THREADS; t++) {
		worker[t] = (struct worker){.world = &world, .number = t, .stop = &stop};
		for (i = 0; i < FILE_PAGES; i++)
			worker[t].has[i] = i;
		assert_int_equal(pthread_create(&worker[t].thread, NULL, work, &worker[t]), 0);
	}
	for (round = 0; round < scaled(40); round++) {
		uint64_t fills = cache_stats(world.cache).fills;

		wait_until(cache_stats(world.cache).fills > fills + 20);
		device_stop(&world.device);
		wait_held(&world.device, 1 + (unsigned)random_below(&random, 4));
		device_go(&world.device);
	}
	/* One stop that outlasts everybody. */
	device_stop(&world.device);
	for (t = 0; t < THREADS; t++) {
		uint64_t was = folio_u64_load_relaxed(&worker[t].late);

		wait_until(folio_u64_load_relaxed(&worker[t].late) > was + 1);
	}
	folio_u32_store_relaxed(&stop, 1);
	for (t = 0; t < THREADS; t++) {
		pthread_join(worker[t].thread, NULL);
		calls += worker[t].calls;
		late += folio_u64_load_relaxed(&worker[t].late);
	}
	device_go(&world.device);
	printf("# %llu calls, %llu not in time\n", (unsigned long long)calls,
		(unsigned long long)late);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	for (i = 0; i < FILE_PAGES; i++)
		check_file(&world, i, worker[i % THREADS].has[i]);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_nothing_left),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_truncate),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_room_uring),
		cmocka_unit_test(test_error_is_told),
		cmocka_unit_test(test_stop_and_go),
	};

	test_begin("wait");
	alarm(300);
	return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
