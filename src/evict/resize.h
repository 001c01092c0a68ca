/* SPDX-License-Identifier: BSD-2-Clause */
/* resize.h - changing the budget of a cache at run time. */
#ifndef FOLIO_SRC_EVICT_RESIZE_H
#define FOLIO_SRC_EVICT_RESIZE_H

#include <stdint.h>

#include "cache/call.h"

/*
 * Give a cache that is being opened its first budget of @pages, and make these frames accessible.
 * Returns 0 or -ENOMEM.
 */
int resize_first(struct call *call, uint64_t pages);

#endif
