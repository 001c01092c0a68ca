/* SPDX-License-Identifier: BSD-2-Clause */
/* demand.h - a page that a call needs now, cached or not. */
#ifndef FOLIO_SRC_READ_DEMAND_H
#define FOLIO_SRC_READ_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "read/op.h"

/*
 * Get the folio that has page @index, up to date, with a reference; it is filled if it is not
 * cached. @pages: how many pages are needed from there on. PAGE_READY: the caller is counted as
 * busy. Else PAGE_PAST_END, or PAGE_FAILED with -ENOMEM, -EOVERFLOW, -EAGAIN (nowait), -ETIMEDOUT
 * (a deadline), or the error of a read of this page that this call did or waited for.
 */
enum page_verdict get_page(
	struct read_op *op, uint64_t index, uint64_t pages, struct folio **result);

/*
 * Read the next window ahead: a reader has reached the mark at page @index. @once: the reader
 * leaves the hot set unchanged. @free_slots: it reads as far as request slots are free, and waits
 * for none in the backend.
 */
void read_ahead(struct folio_file *file, uint64_t index, bool once, bool free_slots,
	struct stats_shard *shard);

#endif
