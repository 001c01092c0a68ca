/* SPDX-License-Identifier: BSD-2-Clause */
/* null-device.c - a backend that costs nothing. */
#include "null-device.h"

#include <errno.h>
#include <stdlib.h>

#include <folio.h>

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
	uint64_t *number = malloc(sizeof(*number));

	(void)context, (void)flags, (void)mode, (void)io_flags;
	if (!number)
		return -ENOMEM;
	/* Scattered numbers; adjacent ones share cache lines of the table of open files. */
	*number = strtoull(path, NULL, 10) * UINT64_C(0xd6e8feb86659fd93) >> 16;
	*handle = number;
	return 0;
}

static void null_close(void *context, void *handle)
{
	(void)context;
	free(handle);
}

static int null_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	const struct null_device *device = context;

	attr->device = 1;
	attr->inode = *(uint64_t *)handle;
	attr->size = device->bytes;
	attr->mtime_sec = 1;
	return 0;
}

static ssize_t transfer(const struct null_device *device, const struct iovec *iov,
	unsigned iov_count, uint64_t offset, bool read)
{
	uint64_t bytes = 0, at;
	unsigned i;

	if (read && device->fails)
		return -EIO;
	for (i = 0; i < iov_count; i++) {
		for (at = 0; read && device->touches && at < iov[i].iov_len; at += FOLIO_PAGE_SIZE)
			*(uint64_t *)((char *)iov[i].iov_base + at) = offset + bytes + at;
		bytes += iov[i].iov_len;
	}
	if (read && offset + bytes > device->bytes)
		bytes = offset < device->bytes ? device->bytes - offset : 0;
	return (ssize_t)bytes;
}

static ssize_t null_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	struct null_device *device = context;

	(void)handle;
	device->reads++;
	return transfer(device, iov, iov_count, offset, true);
}

static void null_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		struct folio_io_request *request = requests[i];

		request->complete(request, transfer(context, request->iov, request->iov_count,
						   request->offset, request->op == FOLIO_IO_READ));
	}
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

const struct folio_io_ops null_device_ops = {
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
