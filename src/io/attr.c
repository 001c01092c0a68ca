/* SPDX-License-Identifier: BSD-2-Clause */
/* attr.c - the attributes of an open file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/file.h"
#include "io/probe.h"

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u
#endif

/* Get the file handle; false if the file system, or the kernel, does not provide one. */
static bool get_handle(int fd, struct folio_io_attr *attr)
{
	union {
		struct file_handle head;
		char space[sizeof(struct file_handle) + FOLIO_IO_HANDLE_MAX];
	} handle = {.head = {.handle_bytes = FOLIO_IO_HANDLE_MAX}};
	int mount;

	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0)
		return false;
	attr->handle_type = handle.head.handle_type;
	attr->handle_bytes = handle.head.handle_bytes;
	memcpy(attr->handle, handle.head.f_handle, handle.head.handle_bytes);
	return true;
}

static bool get_btime(int fd, struct folio_io_attr *attr)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0 || !(stx.stx_mask & STATX_BTIME))
		return false;
	attr->btime_sec = stx.stx_btime.tv_sec;
	attr->btime_nsec = stx.stx_btime.tv_nsec;
	return true;
}

static bool get_generation(int fd, struct folio_io_attr *attr)
{
	/* Declared as long; file systems store an int. */
	long generation = 0;

	if (ioctl(fd, FS_IOC_GETVERSION, &generation) < 0)
		return false;
	attr->generation = (uint64_t)generation;
	return true;
}

/*
 * Get the number of the mount, which is never used again (Linux 6.8). Older kernels have none: then
 * another image could be mounted on the same device. If the file system is read-only, its times
 * may be the same, as they come from the program that made the image. Returns false if so.
 */
static bool get_mount(int fd, struct folio_io_attr *attr)
{
	const int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
	struct statvfs file_system;
	struct statx stx;

	if (statx(fd, "", flags, STATX_MNT_ID_UNIQUE, &stx) < 0)
		return false;
	if (stx.stx_mask & STATX_MNT_ID_UNIQUE) {
		attr->mount = stx.stx_mnt_id;
		return true;
	}
	attr->mount = 0;
	return fstatvfs(fd, &file_system) == 0 && !(file_system.f_flag & ST_RDONLY);
}

/* The fields that tell files with equal inode numbers apart. Without a handle, the others count. */
static void get_identity(int fd, struct folio_io_attr *attr)
{
	attr->fields |= FOLIO_IO_ATTR_AMBIGUOUS;
	if (attr->wanted & FOLIO_IO_ATTR_HANDLE && get_handle(fd, attr)) {
		attr->fields |= FOLIO_IO_ATTR_HANDLE;
		return;
	}
	if (attr->wanted & FOLIO_IO_ATTR_BTIME && get_btime(fd, attr))
		attr->fields |= FOLIO_IO_ATTR_BTIME;
	if (attr->wanted & FOLIO_IO_ATTR_GENERATION && get_generation(fd, attr))
		attr->fields |= FOLIO_IO_ATTR_GENERATION;
}

/* True if the file system has this offset. */
static bool has_offset(int fd, uint64_t offset)
{
	return offset <= INT64_MAX && lseek(fd, (off_t)offset, SEEK_SET) >= 0;
}

/* The largest offset that the file system has: no file is longer. */
static uint64_t offset_max(struct io_file *file)
{
	static folio_u64 latest; /* most files are on one file system */
	uint64_t max = folio_u64_load_relaxed(&file->offset_max), above;
	off_t position;

	if (max)
		return max;
	/* A program that opened the file by a descriptor shares the position. */
	position = lseek(file->fd, 0, SEEK_CUR);
	max = has_offset(file->fd, INT64_MAX) ? INT64_MAX : folio_u64_load_relaxed(&latest);
	if (!has_offset(file->fd, max) || has_offset(file->fd, max + 1)) {
		max = 0;
		above = INT64_MAX;
		while (above - max > 1) {
			uint64_t middle = max + (above - max) / 2;

			if (has_offset(file->fd, middle))
				max = middle;
			else
				above = middle;
		}
		folio_u64_store_relaxed(&latest, max);
	}
	if (position >= 0)
		lseek(file->fd, position, SEEK_SET);
	/* 0: there is no answer. */
	if (!max)
		max = INT64_MAX;
	folio_u64_store_relaxed(&file->offset_max, max);
	return max;
}

/* Where pwrite refuses to write, and with which errno. */
static void get_limit(struct io_file *file, struct folio_io_attr *attr)
{
	struct rlimit process;

	attr->fields |= FOLIO_IO_ATTR_LIMIT;
	if (file->block) {
		attr->limit = attr->size;
		attr->limit_error = ENOSPC;
		return;
	}
	attr->limit = offset_max(file);
	attr->limit_error = EFBIG;
	if (getrlimit(RLIMIT_FSIZE, &process) == 0 && process.rlim_cur != RLIM_INFINITY &&
		process.rlim_cur < attr->limit)
		attr->limit = process.rlim_cur;
}

void io_attr_fill(const struct io_file *file, const struct stat *st, struct folio_io_attr *attr)
{
	attr->device = st->st_dev;
	attr->inode = st->st_ino;
	attr->size = (uint64_t)st->st_size;
	attr->mtime_sec = st->st_mtim.tv_sec;
	attr->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
	/*
	 * All nodes of a device are one file: st_rdev names it, with inode number 0, which no file
	 * system on that device uses.
	 */
	if (file->block) {
		attr->device = st->st_rdev;
		attr->inode = 0;
	}
	/* A program for version 0.1 has a shorter struct. */
	if (attr->struct_size != sizeof(*attr))
		return;
	attr->ctime_sec = st->st_ctim.tv_sec;
	attr->ctime_nsec = (uint32_t)st->st_ctim.tv_nsec;
	attr->fields = FOLIO_IO_ATTR_CTIME;
	if (file->block)
		return;
	get_identity(file->fd, attr);
	if (attr->wanted & FOLIO_IO_ATTR_MOUNT && get_mount(file->fd, attr))
		attr->fields |= FOLIO_IO_ATTR_MOUNT;
}

/*
 * Network file systems and FUSE keep attributes for some time. The kernel asks the server now, and
 * fstat then has what it got. Returns 0 or -errno.
 */
static int refresh(int fd)
{
	const int flags = AT_EMPTY_PATH | AT_STATX_FORCE_SYNC;
	struct statx stx;

	return statx(fd, "", flags, STATX_BASIC_STATS, &stx) < 0 ? -errno : 0;
}

int io_file_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	struct io_file *file = handle;
	bool extended = attr->struct_size == sizeof(*attr);
	struct stat st;
	int r;

	if (file->probe)
		return io_probe_getattr(file, attr);
	r = extended && attr->wanted & FOLIO_IO_ATTR_FRESH ? refresh(file->fd) : 0;
	if (r)
		return r;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	io_attr_fill(file, &st, attr);
	/* lseek would move the position of a program that opened the device by a descriptor. */
	if (file->block && ioctl(file->fd, BLKGETSIZE64, &attr->size) < 0)
		return -errno;
	if (extended && attr->wanted & FOLIO_IO_ATTR_LIMIT)
		get_limit(file, attr);
	return 0;
}
