/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * device.h - the devices that the open files of a cache are on.
 *
 * Files belong to one device if the backend reports the same folio_io_attr.device for them.
 */
#ifndef FOLIO_SRC_CACHE_DEVICE_H
#define FOLIO_SRC_CACHE_DEVICE_H

#include <stdint.h>

#include "cache/types.h"

/* Find or create the device for one more inode. Takes writeback.lock. NULL: no memory. */
struct writeback_device *device_get(struct folio_cache *cache, uint64_t number);

/*
 * An inode no longer uses its device; the last one frees it. The inode has no dirty page and no run
 * in use, and the flusher has left it. Takes writeback.lock.
 */
void device_put(struct writeback_device *device);

#endif
