/* SPDX-License-Identifier: BSD-2-Clause */
/* page.h - changing one locked folio. */
#ifndef FOLIO_SRC_WRITE_PAGE_H
#define FOLIO_SRC_WRITE_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "read/op.h"

/*
 * The rest of a write. A step that succeeds advances part and the fields after it.
 *
 * The program's memory may be such that its page faults are served by a thread that uses the cache
 * itself. So no thread touches it while it holds a lock: write_bytes first copies the next part to
 * a buffer of its own, and the steps, which have the file and a folio locked, take it from there.
 */
struct write_op {
	struct call *call;
	struct folio_file *file;
	const char *buf;            /* the program's, or NULL: it has several */
	const struct iovec *source; /* then the one with the next part's first byte */
	uint64_t source_at;         /* the offset at which buf, or that element, begins */
	const char *part;           /* the first of these bytes, in a buffer of the library */
	size_t part_left;           /* bytes there; no more than left */
	size_t left;
	uint64_t offset;
	uint64_t sequence; /* of the change in the program's log, or 0 */
	bool keep_size;    /* bytes past the end of the file are not written */
	bool may_grow;     /* append_lock is held: the file may become longer */
	bool grows;        /* the write makes the file longer: its parts take that lock */
};

/*
 * Steps 2 to 7 of page.c, for the bytes of the part that are in the pinned folio. PAGE_READY;
 * PAGE_CHANGED: begin again; PAGE_FAILED with -ETIMEDOUT.
 */
enum page_verdict write_folio(struct write_op *op, struct folio *folio);

/*
 * Write @len bytes of the part or fewer into a new folio, whose pages are not cached. These bytes
 * are all that it will have: complete pages, or up to past the end of the file. Verdicts as
 * write_folio, or those of fill_new (PAGE_LOST_RACE; PAGE_FAILED with its error).
 */
enum page_verdict write_new(struct write_op *op, size_t len);

/*
 * The file is about to have @size bytes, more than it has: if its last folio is cached, fills that
 * up with zeros. The caller holds size_lock. 1 if it has done so, 0 if not, or -ETIMEDOUT.
 */
int extend_tail(struct call *call, struct folio_file *file, uint64_t size);

/*
 * In the folio that contains byte @size, sets all bytes from there on to zero. A large folio is
 * split first, if that is possible, so that the pages past @size leave it. Waits without a
 * deadline.
 */
void zero_tail(struct folio_file *file, uint64_t size);

#endif
