/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folio.h - all of folio in one include: cached files, reading, writing, pins and backends.
 *
 * The manual begins at folio(7). A program that needs only the reference counter includes
 * <folio/ref.h>, which stands alone and needs no library.
 */
#ifndef FOLIO_H
#define FOLIO_H

#include <folio/cache.h>    /* open, close and resize a cache */
#include <folio/stats.h>    /* its counters */
#include <folio/open.h>     /* open and close files */
#include <folio/file.h>     /* read them */
#include <folio/peek.h>     /* read them in place, without a call */
#include <folio/pin.h>      /* pin them at the same cost with any number of threads */
#include <folio/write.h>    /* write, sync, truncate */
#include <folio/lock.h>     /* change pages in place */
#include <folio/queue.h>    /* read, pin, write and sync without a thread that waits */
#include <folio/iovec.h>    /* read and write several buffers in one call */
#include <folio/range.h>    /* write back ranges of a file */
#include <folio/space.h>    /* find data and holes of a file, reserve space for it */
#include <folio/sequence.h> /* write with the positions of a log; which of them are durable */
#include <folio/type.h>     /* folios for the program's own data */
#include <folio/hot.h>      /* which pages are hot: save them, and load them again */
#include <folio/pins.h>     /* which folios are pinned, and their holders */
#include <folio/folio.h>    /* the folio: pins, memory, index */
#include <folio/io.h>       /* the interface of a backend */

#endif
