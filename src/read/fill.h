/* SPDX-License-Identifier: BSD-2-Clause */
/* fill.h - reading pages from the backend, and making new pages for a write. */
#ifndef FOLIO_SRC_READ_FILL_H
#define FOLIO_SRC_READ_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "read/finish.h"
#include "read/op.h"

/* Pages in one request, at most: several requests in parallel keep the device busy. */
#define FILL_PAGES_MAX 256
/* Requests that are submitted to the backend together. */
#define FILL_BATCH     32
/* As @mark of fill_add: no folio gets the mark of a window. */
#define FILL_NO_MARK   UINT64_MAX

struct fill_batch {
	struct call *call;
	unsigned count;
	struct folio_io_request *request[FILL_BATCH];
};

/*
 * Add reads of the pages of @range that are not cached, one request for each run without a gap. The
 * folios get @heat; the one that has page @mark gets HEAT_MARK. Uses free memory only, and
 * stops when there is none. The reads complete on threads of the backend. Returns the number of
 * pages added.
 */
uint64_t fill_add(struct fill_batch *batch, struct inode *inode, struct page_range range,
	uint64_t mark, uint32_t heat);

/* Submit the requests to the backend. */
void fill_submit(struct fill_batch *batch);

/*
 * Make a new folio for pages from the beginning of @range on, none of which is cached, for a caller
 * that has the complete contents of the folio. PAGE_READY: the folio is in the tree, LOCKED; the
 * caller has a reference, is counted as busy, and must end the fill with fill_publish. Else
 * PAGE_LOST_RACE, or PAGE_FAILED with -ENOMEM or -ETIMEDOUT.
 */
enum page_verdict fill_new(
	struct call *call, struct inode *inode, struct page_range range, struct folio **folio);

/*
 * Read the first page of @range, which the caller did not find, and pages after it as far as one
 * request goes, on the calling thread. The caller is not counted as busy (core/progress.h).
 *
 * PAGE_READY: *folio has a reference, *filled pages are read, and the caller is counted as busy. If
 * the call has a deadline, the read may still be in flight and the folio locked. PAGE_LOST_RACE:
 * another thread stored the page. PAGE_PAST_END. PAGE_READ_SINGLY: a read of several pages failed.
 * PAGE_FAILED: -ENOMEM if nothing can be evicted, -ETIMEDOUT, or the error of a read of this page
 * alone.
 */
enum page_verdict fill_sync(struct call *call, struct inode *inode, struct page_range range,
	struct folio **folio, uint64_t *filled);

#endif
