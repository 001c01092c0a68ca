/* SPDX-License-Identifier: BSD-2-Clause */
/* backend.c - see backend.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <folio/folio.h>

#include "backend.h"

#define LABEL_MAGIC UINT64_C(0xf0)
#define WORDS       (FOLIO_PAGE_SIZE / 8)

uint64_t label_base(struct label label)
{
	return mix64(LABEL_MAGIC << 56 | (uint64_t)label.file << 48 | label.index << 32 |
		     (label.generation & UINT32_MAX));
}

bool label_of(uint64_t base, struct label *label)
{
	uint64_t word = unmix64(base);

	*label = (struct label){.file = word >> 48 & 0xff,
		.index = word >> 32 & 0xffff,
		.generation = word & UINT32_MAX};
	return word >> 56 == LABEL_MAGIC;
}

void label_fill(void *page, size_t bytes, struct label label)
{
	uint64_t base = label_base(label), *to = page, rest;
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		to[i] = base + i * WORD_STEP;
	rest = base + i * WORD_STEP;
	memcpy(&to[i], &rest, bytes % 8);
}

size_t label_check(const void *data, size_t offset, size_t len, struct label label)
{
	uint64_t base = label_base(label), word, expected;
	const char *at = data;
	size_t done = 0, n, i;

	while (done < len) {
		size_t word_index = (offset + done) / 8, skip = (offset + done) % 8;

		expected = base + word_index * WORD_STEP;
		if (skip == 0 && len - done >= 8) {
			memcpy(&word, at + done, 8);
			if (word == expected) {
				done += 8;
				continue;
			}
		}
		n = 8 - skip < len - done ? 8 - skip : len - done;
		for (i = 0; i < n; i++, done++)
			if (at[done] != ((const char *)&expected)[skip + i])
				return done;
	}
	return len;
}

/* ---- files ---- */

static struct file *files;
static unsigned files_count;
static bool fails;
static folio_u64 handles, failures;

int backend_open_files(unsigned count, const uint64_t *bytes, bool errors)
{
	unsigned i;

	files = calloc(count, sizeof(*files));
	if (!files)
		return -ENOMEM;
	files_count = count;
	fails = errors;
	folio_u64_store_relaxed(&failures, 0);
	for (i = 0; i < count; i++) {
		struct file *file = &files[i];

		file->number = i;
		folio_u64_store_relaxed(&file->size, bytes[i]);
		file->pages_max = (bytes[i] + FOLIO_PAGE_SIZE - 1) / FOLIO_PAGE_SIZE;
		if (file->pages_max > INDEX_MAX)
			return -EINVAL;
		file->regions = (unsigned)(file->pages_max / REGION_PAGES) + 1;
		file->now = calloc(file->regions, sizeof(*file->now));
		file->done = calloc(file->regions, sizeof(*file->done));
		file->denied = calloc(file->pages_max, sizeof(*file->denied));
		if (!file->now || !file->done || !file->denied)
			return -ENOMEM;
		pthread_mutex_init(&file->resize_lock, NULL);
	}
	return 0;
}

void backend_close_files(void)
{
	unsigned i;

	for (i = 0; i < files_count; i++) {
		pthread_mutex_destroy(&files[i].resize_lock);
		free(files[i].now);
		free(files[i].done);
		free(files[i].denied);
	}
	free(files);
	files = NULL;
	files_count = 0;
}

struct file *backend_file(unsigned number)
{
	return &files[number];
}

void backend_path(char path[BACKEND_PATH], const struct file *file)
{
	snprintf(path, BACKEND_PATH, "file/%u", file->number);
}

bool backend_fails(void)
{
	return fails;
}

bool backend_denied(const struct file *file, uint64_t index, uint64_t generation)
{
	return folio_u64_load_acquire(&file->denied[index]) > generation;
}

uint64_t backend_handles(void)
{
	return folio_u64_load_relaxed(&handles);
}

uint64_t backend_failures(void)
{
	return folio_u64_load_relaxed(&failures);
}

/* ---- the table ---- */

/* Allocated separately, so that a use after close is a use of freed memory. */
struct handle {
	struct file *file;
};

#define THREADS 2

struct backend {
	pthread_t thread[THREADS];
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct folio_io_request *first, **last; /* guarded by lock */
	bool stop;
};

static int backend_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **result)
{
	struct handle *handle;
	unsigned number;

	if (sscanf(path, "file/%u", &number) != 1 || number >= files_count)
		return -ENOENT;
	handle = malloc(sizeof(*handle));
	if (!handle)
		return -ENOMEM;
	handle->file = &files[number];
	folio_u64_fetch_add_relaxed(&handles, 1);
	*result = handle;
	return 0;
}

static void backend_close(void *context, void *handle)
{
	folio_u64_fetch_sub_relaxed(&handles, 1);
	free(handle);
}

static int backend_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	struct file *file = ((struct handle *)handle)->file;
	uint32_t wanted = attr->wanted;

	/*
	 * The time is loaded first. With an old time the size may be old or new, and the next call
	 * detects the change.
	 */
	*attr = (struct folio_io_attr){.device = 1,
		.inode = file->number + 1,
		.struct_size = sizeof(*attr),
		.wanted = wanted,
		.fields = FOLIO_IO_ATTR_CTIME | (wanted & FOLIO_IO_ATTR_HANDLE),
		.handle_bytes = 1,
		.handle = {(unsigned char)file->number}};
	attr->mtime_sec = attr->ctime_sec = (int64_t)folio_u64_load_acquire(&file->mtime);
	attr->size = folio_u64_load_acquire(&file->size);
	return 0;
}

/* Sometimes fails a read, or cuts it short against the contract. Returns 0 or -errno. */
static int fail(struct file *file, uint64_t offset, size_t *bytes)
{
	struct rng *rng = pause_rng();
	uint64_t choice, index, last;

	if (!fails || !*bytes)
		return 0;
	choice = rng_below(rng, 512);
	if (choice > 1)
		return 0;
	folio_u64_fetch_add_relaxed(&failures, 1);
	last = (offset + *bytes - 1) / FOLIO_PAGE_SIZE;
	*bytes = rng_below(rng, *bytes / FOLIO_PAGE_SIZE + 1) * FOLIO_PAGE_SIZE;
	/* An error after some bytes. */
	if (choice == 0)
		return -EIO;
	for (index = offset / FOLIO_PAGE_SIZE + *bytes / FOLIO_PAGE_SIZE; index <= last; index++)
		folio_u64_store_release(&file->denied[index],
			folio_u64_load_acquire(&file->now[index / REGION_PAGES]) + 1);
	return 0;
}

static ssize_t backend_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	struct file *file = ((struct handle *)handle)->file;
	uint64_t size = folio_u64_load_acquire(&file->size);
	size_t wanted = 0, done = 0;
	unsigned i;
	int error;

	for (i = 0; i < iov_count; i++)
		wanted += iov[i].iov_len;
	if (offset + wanted > size)
		wanted = size > offset ? size - offset : 0;
	error = fail(file, offset, &wanted);
	for (i = 0; i < iov_count && done < wanted; i++) {
		char *page = iov[i].iov_base, *end = page + iov[i].iov_len;

		for (; page < end && done < wanted; page += FOLIO_PAGE_SIZE) {
			uint64_t index = (offset + done) / FOLIO_PAGE_SIZE;
			size_t bytes =
				wanted - done < FOLIO_PAGE_SIZE ? wanted - done : FOLIO_PAGE_SIZE;

			/*
			 * acquire: pairs with the thread that changes the file and notifies the
			 * cache.
			 */
			label_fill(page, bytes,
				(struct label){file->number, index,
					folio_u64_load_acquire(&file->now[index / REGION_PAGES])});
			done += bytes;
			if (done < wanted)
				pause_here(NULL);
		}
	}
	return error ? error : (ssize_t)done;
}

static void serve(struct backend *backend, struct folio_io_request *request)
{
	ssize_t result = backend_read(
		backend, request->handle, request->iov, request->iov_count, request->offset);

	pause_here(NULL);
	request->complete(request, result);
}

static void *run(void *arg)
{
	struct backend *backend = arg;

	pthread_mutex_lock(&backend->lock);
	for (;;) {
		struct folio_io_request *request = backend->first;

		if (request) {
			backend->first = request->next;
			if (!backend->first)
				backend->last = &backend->first;
			pthread_mutex_unlock(&backend->lock);
			serve(backend, request);
			pthread_mutex_lock(&backend->lock);
		} else if (backend->stop) {
			break;
		} else {
			pthread_cond_wait(&backend->work, &backend->lock);
		}
	}
	pthread_mutex_unlock(&backend->lock);
	return NULL;
}

static void backend_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct backend *backend = context;
	unsigned i;

	for (i = 0; i < count; i++) {
		struct folio_io_request *request = requests[i];

		/* Some complete before submit returns. */
		if (rng_one_in(pause_rng(), 4)) {
			serve(backend, request);
			continue;
		}
		pthread_mutex_lock(&backend->lock);
		request->next = NULL;
		*backend->last = request;
		backend->last = &request->next;
		pthread_cond_signal(&backend->work);
		pthread_mutex_unlock(&backend->lock);
	}
}

static int backend_create(void **context, unsigned depth)
{
	struct backend *backend = calloc(1, sizeof(*backend));
	unsigned i;

	if (!backend)
		return -ENOMEM;
	backend->last = &backend->first;
	pthread_mutex_init(&backend->lock, NULL);
	pthread_cond_init(&backend->work, NULL);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&backend->thread[i], NULL, run, backend))
			abort();
	*context = backend;
	return 0;
}

static void backend_destroy(void *context)
{
	struct backend *backend = context;
	unsigned i;

	pthread_mutex_lock(&backend->lock);
	backend->stop = true;
	pthread_cond_broadcast(&backend->work);
	pthread_mutex_unlock(&backend->lock);
	for (i = 0; i < THREADS; i++)
		pthread_join(backend->thread[i], NULL);
	pthread_cond_destroy(&backend->work);
	pthread_mutex_destroy(&backend->lock);
	free(backend);
}

const struct folio_io_ops backend_ops = {
	.size = sizeof(backend_ops),
	.name = "torture",
	.create = backend_create,
	.destroy = backend_destroy,
	.open = backend_open,
	.close = backend_close,
	.getattr = backend_getattr,
	.read = backend_read,
	.submit = backend_submit,
};
