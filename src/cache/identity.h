/* SPDX-License-Identifier: BSD-2-Clause */
/* identity.h - attributes of a backend's file, and which of them identify it. */
#ifndef FOLIO_SRC_CACHE_IDENTITY_H
#define FOLIO_SRC_CACHE_IDENTITY_H

#include <stdint.h>

#include "cache/types.h"

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
 * Compare the files of two handles whose device and inode are equal. @attr has the attributes of
 * @second. Returns IDENTITY_*; or an error of the backend for @second. A file that is open as
 * @first and whose attributes are unavailable is in doubt.
 */
int identity_compare(
	struct folio_cache *cache, void *first, void *second, const struct folio_io_attr *attr);

#endif
