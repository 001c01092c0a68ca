/* SPDX-License-Identifier: BSD-2-Clause */
/* identity.h - attributes of a backend's file, and which of them identify it. */
#ifndef FOLIO_SRC_CACHE_IDENTITY_H
#define FOLIO_SRC_CACHE_IDENTITY_H

#include <stdint.h>

#include "cache/types.h"

/* The attributes that tell two files with equal device and inode apart. */
#define IDENTITY_WANTED (FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME | FOLIO_IO_ATTR_GENERATION)

/* Those that tell whether a file without a handle is still the same one. */
#define IDENTITY_CLOSED (IDENTITY_WANTED | FOLIO_IO_ATTR_MOUNT)

/*
 * Get the attributes of an open file, with @wanted of FOLIO_IO_ATTR_*. fields is 0 if the backend
 * knows only the attributes of version 0.1. Returns 0, or the backend's error.
 */
int identity_attr(
	struct folio_cache *cache, void *handle, uint32_t wanted, struct folio_io_attr *attr);

enum {
	IDENTITY_SAME,
	IDENTITY_OTHER,
	IDENTITY_DOUBT, /* they may be the same file or not */
};

/*
 * Compare what identity_attr reported, with IDENTITY_WANTED, of two files with one inode number.
 * Returns IDENTITY_*.
 */
int identity_compare_attr(const struct folio_io_attr *first, const struct folio_io_attr *second);

/*
 * Compare the files of two handles whose device and inode are equal. @attr has the attributes of
 * @second. Returns IDENTITY_*; or an error of the backend for @second. A file that is open as
 * @first and whose attributes are unavailable is in doubt.
 */
int identity_compare(
	struct folio_cache *cache, void *first, void *second, const struct folio_io_attr *attr);

/*
 * Compare a file that no handle has open with the file of @handle, whose device and inode are
 * equal. @closed: what identity_attr reported with IDENTITY_CLOSED. The inode number may be that of
 * a new file by now: so device and inode prove nothing, and IDENTITY_SAME takes a handle or a time
 * of creation, in the same mount. Returns IDENTITY_*, or an error of the backend.
 */
int identity_compare_closed(
	struct folio_cache *cache, const struct folio_io_attr *closed, void *handle);

#endif
