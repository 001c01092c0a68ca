/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake-file.h - what the simulated backends report of a file, as real file systems report it:
 * inode numbers that are unique on one device only, and times of which one part may stay the same.
 */
#ifndef FOLIO_TESTS_FAKE_FILE_H
#define FOLIO_TESTS_FAKE_FILE_H

#include <string.h>

#include <folio/io.h>

struct fake_file {
	uint64_t device, inode;
	uint64_t changes; /* of contents or size; the times follow from it */
};

/* A time after @changes changes. Each one changes either the seconds or the nanoseconds. */
static inline int64_t fake_sec(uint64_t changes)
{
	return INT64_C(1700000000) + (int64_t)(changes / 2);
}

static inline uint32_t fake_nsec(uint64_t changes)
{
	return 987654321 + (uint32_t)((changes + 1) / 2 % 1000000);
}

/*
 * Sets what getattr reports, and of that no more than a caller with this struct_size may get. On
 * devices with an odd number the time of the last change of the inode is reported as well; two of
 * three changes there show in that time alone, as if a program had restored the other one. These
 * devices have file handles, too, so a file there may stay cached when it is closed. @probe: the
 * handle is one of a file that was not opened; any caller may open it.
 */
static inline void fake_attr(
	const struct fake_file *file, uint64_t size, bool probe, struct folio_io_attr *attr)
{
	bool has_ctime = file->device % 2 && attr->struct_size == sizeof(*attr);
	uint64_t changes = has_ctime ? file->changes / 3 : file->changes;

	attr->device = file->device;
	attr->inode = file->inode;
	attr->size = size;
	attr->mtime_sec = fake_sec(changes);
	attr->mtime_nsec = fake_nsec(changes);
	if (attr->struct_size != sizeof(*attr))
		return;
	attr->fields = probe ? attr->wanted & FOLIO_IO_ATTR_ACCESS : 0;
	if (!has_ctime)
		return;
	attr->fields |=
		FOLIO_IO_ATTR_CTIME | (attr->wanted & (FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_MOUNT));
	attr->ctime_sec = fake_sec(file->changes);
	attr->ctime_nsec = fake_nsec(file->changes);
	if (attr->wanted & FOLIO_IO_ATTR_HANDLE) {
		attr->handle_bytes = sizeof(file->inode);
		memcpy(attr->handle, &file->inode, sizeof(file->inode));
	}
}

#endif
