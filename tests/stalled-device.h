/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stalled-device.h - a backend that stops completing requests on command, and a cache on it whose
 * calls have a deadline.
 */
#ifndef FOLIO_TESTS_STALLED_DEVICE_H
#define FOLIO_TESTS_STALLED_DEVICE_H

#include <pthread.h>

#include "cache-test.h"
#include "quiet-cache.h"

#define TIMEOUT_MS 20

/*
 * The library's backend with threads. While it is stopped, no request reaches it and no call
 * returns.
 */
struct device {
	void *inner;
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool stopped;
	bool refuses; /* writes fail */
	bool uncut;   /* truncations fail */
	unsigned depth, held;
	unsigned calls; /* other than submit, that wait until the device continues */
	struct folio_io_request *first, **last;
};

static inline int device_create(void **context, unsigned depth)
{
	struct device *device = *context;

	device->depth = depth;
	return folio_io_threads.create(&device->inner, depth);
}

static inline void device_destroy(void *context)
{
	folio_io_threads.destroy(((struct device *)context)->inner);
}

static inline void pass(struct device *device, struct folio_io_request *request)
{
	if (request->op == FOLIO_IO_WRITE && device->refuses)
		request->complete(request, -EIO);
	else
		folio_io_threads.submit(device->inner, &request, 1);
}

static inline void device_submit(void *context, struct folio_io_request **requests, unsigned count)
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

static inline void answer(struct device *device)
{
	pthread_mutex_lock(&device->lock);
	device->calls++;
	pthread_cond_broadcast(&device->change);
	while (device->stopped)
		pthread_cond_wait(&device->change, &device->lock);
	device->calls--;
	pthread_mutex_unlock(&device->lock);
}

static inline ssize_t device_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	answer(context);
	return folio_io_threads.read(NULL, handle, iov, iov_count, offset);
}

static inline int device_sync(void *context, void *handle, unsigned flags)
{
	answer(context);
	return folio_io_threads.sync(NULL, handle, flags);
}

static inline int device_truncate(void *context, void *handle, uint64_t size)
{
	answer(context);
	if (((struct device *)context)->uncut)
		return -EIO;
	return folio_io_threads.truncate(NULL, handle, size);
}

static inline int device_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	answer(context);
	return folio_io_threads.punch(NULL, handle, offset, len);
}

static inline void device_stop(struct device *device)
{
	pthread_mutex_lock(&device->lock);
	device->stopped = true;
	pthread_mutex_unlock(&device->lock);
}

static inline void device_go(struct device *device)
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

static inline unsigned device_held(struct device *device)
{
	unsigned held;

	pthread_mutex_lock(&device->lock);
	held = device->held;
	pthread_mutex_unlock(&device->lock);
	return held;
}

static inline void wait_held(struct device *device, unsigned count)
{
	pthread_mutex_lock(&device->lock);
	while (device->held < count)
		pthread_cond_wait(&device->change, &device->lock);
	pthread_mutex_unlock(&device->lock);
}

static inline void wait_calls(struct device *device, unsigned count)
{
	pthread_mutex_lock(&device->lock);
	while (device->calls < count)
		pthread_cond_wait(&device->change, &device->lock);
	pthread_mutex_unlock(&device->lock);
}

/* A cache on such a device, and a file in which each page is filled with its number. */
#define FILE_PAGES 400

struct world {
	struct device device;
	struct folio_io_ops ops;
	struct folio_cache *cache;
	struct folio_file *file;
	struct cache_limits limits; /* of the new cache */
	char path[32];
	int fd;
};

static inline void fill_page(unsigned char *page, uint64_t number)
{
	size_t i;

	for (i = 0; i < PAGE; i++)
		page[i] = (unsigned char)(number * 7 + i / 64);
}

static inline void world_begin_timed(struct world *world, uint64_t pages, unsigned depth,
	uint32_t timeout_ms, uint32_t dirty_age_ms)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD,
		.io_depth = depth,
		.io = &world->ops,
		.io_context = &world->device,
		.dirty_age_ms = dirty_age_ms,
		.timeout_ms = timeout_ms,
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
	world->limits = limits_of(world->cache);
	assert_int_equal(folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
}

static inline void world_begin(struct world *world, uint64_t pages, unsigned depth)
{
	world_begin_timed(world, pages, depth, TIMEOUT_MS, UINT32_MAX);
}

/* A busy machine may miss a deadline: the caller tries again. */
#define UNTIL_IN_TIME(call) \
	do                  \
		r = (call); \
	while (r == -ETIMEDOUT)

static inline void world_end(struct world *world)
{
	int r;

	/* Whatever calls were left: nothing of them remains. */
	expect_quiet(world->cache, &world->limits);
	UNTIL_IN_TIME(folio_file_close(world->file));
	assert_int_equal(r, 0);
	expect_quiet(world->cache, &world->limits);
	assert_int_equal(folio_cache_close(world->cache), 0);
	close(world->fd);
	unlink(world->path);
	pthread_cond_destroy(&world->device.change);
	pthread_mutex_destroy(&world->device.lock);
}

static inline void check_page(struct world *world, uint64_t index)
{
	unsigned char page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	ssize_t r;

	UNTIL_IN_TIME(folio_file_read(world->file, got, PAGE, index * PAGE));
	assert_int_equal(r, PAGE);
	fill_page(page, index);
	assert_memory_equal(got, page, PAGE);
}

static inline void write_page(struct world *world, uint64_t index, uint64_t number)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	ssize_t r;

	fill_page(page, number);
	UNTIL_IN_TIME(folio_file_write(world->file, page, PAGE, index * PAGE));
	assert_int_equal(r, PAGE);
}

static inline void check_file(struct world *world, uint64_t index, uint64_t number)
{
	unsigned char page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];

	fill_page(page, number);
	assert_int_equal(pread(world->fd, got, PAGE, (off_t)(index * PAGE)), PAGE);
	assert_memory_equal(got, page, PAGE);
}

#endif
