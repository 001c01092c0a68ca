/* SPDX-License-Identifier: BSD-2-Clause */
/* library.c - a trace through the library, on a device that costs nothing. */
#include "library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <folio.h>

/* ---- a device without contents, and with one file ---- */

static uint64_t reads; /* by calls of this program, which has one thread */

static int null_create(void **context, unsigned depth)
{
	(void)context, (void)depth;
	return 0;
}

static void null_destroy(void *context)
{
	(void)context;
}

static int null_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	(void)context, (void)path, (void)flags, (void)mode, (void)io_flags;
	*handle = &reads;
	return 0;
}

static void null_close(void *context, void *handle)
{
	(void)context, (void)handle;
}

static int null_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	(void)context, (void)handle;
	attr->device = attr->inode = 1;
	attr->size = (uint64_t)TRACE_WRITE * FOLIO_PAGE_SIZE;
	attr->mtime_sec = 1;
	return 0;
}

static ssize_t length(const struct iovec *iov, unsigned iov_count)
{
	ssize_t bytes = 0;
	unsigned i;

	for (i = 0; i < iov_count; i++)
		bytes += (ssize_t)iov[i].iov_len;
	return bytes;
}

static ssize_t null_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	(void)context, (void)handle, (void)offset;
	reads++;
	return length(iov, iov_count);
}

static void null_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	(void)context;
	for (i = 0; i < count; i++)
		requests[i]->complete(
			requests[i], length(requests[i]->iov, requests[i]->iov_count));
}

static int null_sync(void *context, void *handle, unsigned sync_flags)
{
	(void)context, (void)handle, (void)sync_flags;
	return 0;
}

static int null_truncate(void *context, void *handle, uint64_t size)
{
	(void)context, (void)handle, (void)size;
	return 0;
}

static int null_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	(void)context, (void)handle, (void)offset, (void)len;
	return 0;
}

static const struct folio_io_ops null_ops = {
	.size = sizeof(struct folio_io_ops),
	.name = "null",
	.create = null_create,
	.destroy = null_destroy,
	.open = null_open,
	.close = null_close,
	.getattr = null_getattr,
	.read = null_read,
	.submit = null_submit,
	.sync = null_sync,
	.truncate = null_truncate,
	.punch = null_punch,
};

/* ---- the replay ---- */

static void check(ssize_t r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "policy: %s: %s\n", what, strerror((int)-r));
	exit(2);
}

struct hits library_hits(const struct trace *trace, uint64_t pages, uint64_t skip)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * FOLIO_PAGE_SIZE,
		.flags = FOLIO_CACHE_NO_READAHEAD,
		.io = &null_ops,
	};
	static char page[FOLIO_PAGE_SIZE];
	struct folio_cache *cache;
	struct folio_file *file;
	struct hits hits = {0, 0};
	uint64_t i;

	check(folio_cache_open(&params, &cache), "cache");
	check(folio_file_open(cache, "", O_RDWR, 0, &file), "file");
	for (i = 0; i < trace->count; i++) {
		uint32_t access = trace->access[i];
		uint64_t offset = (uint64_t)(access & ~TRACE_WRITE) * FOLIO_PAGE_SIZE;
		uint64_t before = reads;

		if (access & TRACE_WRITE) {
			check(folio_file_write(file, page, sizeof(page), offset), "write");
			continue;
		}
		check(folio_file_read(file, page, sizeof(page), offset), "read");
		if (i >= skip) {
			hits.reads++;
			hits.hits += reads == before;
		}
	}
	check(folio_file_close(file), "close");
	check(folio_cache_close(cache), "close");
	return hits;
}
