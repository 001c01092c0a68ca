/* SPDX-License-Identifier: BSD-2-Clause */
/* space.c - which parts of a file have blocks, for the library's own backends. */
#include "io/space.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "io/attempt.h"
#include "io/file.h"

/*
 * One extent at @offset, before @size. A file system that cannot tell says that all is data, or
 * refuses SEEK_DATA with -EINVAL, as a block device does.
 */
static int find_extent(int fd, uint64_t offset, uint64_t size, struct folio_io_extent *extent)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

	*extent = (struct folio_io_extent){.bytes = size - offset, .kind = FOLIO_IO_DATA};
	if (data < 0 && errno == EINVAL)
		return 0;
	/* Nothing but a hole follows. */
	if (data < 0 && errno == ENXIO)
		extent->kind = FOLIO_IO_HOLE;
	else if (data < 0)
		return -errno;
	if (data < 0)
		return 0;
	if ((uint64_t)data > offset) {
		extent->kind = FOLIO_IO_HOLE;
		if ((uint64_t)data < size)
			extent->bytes = (uint64_t)data - offset;
		return 0;
	}
	hole = lseek(fd, (off_t)offset, SEEK_HOLE);
	/* -ENXIO: the file has become shorter. */
	if (hole < 0)
		return errno == ENXIO ? 0 : -errno;
	if ((uint64_t)hole > offset && (uint64_t)hole < size)
		extent->bytes = (uint64_t)hole - offset;
	return 0;
}

int io_space_extents(void *context, void *handle, uint64_t offset, struct folio_io_extent *extents,
	unsigned count)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr)};
	struct io_file *file = handle;
	unsigned found = 0;
	off_t position;
	int r = io_file_getattr(context, handle, &attr);

	if (r)
		return r;
	/* A program that opened the file by a descriptor shares the position. */
	position = lseek(file->fd, 0, SEEK_CUR);
	while (!r && found < count && offset < attr.size) {
		r = find_extent(file->fd, offset, attr.size, &extents[found]);
		if (!r)
			offset += extents[found++].bytes;
	}
	if (position >= 0)
		lseek(file->fd, position, SEEK_SET);
	return r ? r : (int)found;
}

int io_space_allocate(void *context, void *handle, uint64_t offset, uint64_t len)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr)};
	struct io_file *file = handle;
	unsigned tries = 0;
	int r;

	/* A device has all its blocks. */
	if (file->block) {
		r = io_file_getattr(context, handle, &attr);
		if (r)
			return r;
		return offset <= attr.size && len <= attr.size - offset ? 0 : -ENOSPC;
	}
	do
		r = fallocate(file->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	while (r < 0 && errno == EINTR && io_pause(&tries));
	if (r < 0 && (errno == ENOSYS || errno == ENODEV))
		return -EOPNOTSUPP;
	return r < 0 ? -errno : 0;
}
