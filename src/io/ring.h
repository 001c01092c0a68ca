/* SPDX-License-Identifier: BSD-2-Clause */
/* ring.h - the set-up of a ring. */
#ifndef FOLIO_SRC_IO_RING_H
#define FOLIO_SRC_IO_RING_H

#include <liburing.h>

/*
 * Set up a ring of @entries entries, which belongs to the calling thread. Its descriptor is above
 * those of stdio. Returns 0; or -errno, and there is nothing to release.
 */
int ring_open(struct io_uring *ring, unsigned entries);

#endif
