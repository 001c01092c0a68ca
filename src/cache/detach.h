/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * detach.h - calls that may outlive the deadline of their caller.
 *
 * A sync, a truncation, a hole or the last write-back of a file cannot be left half done. If it has
 * a deadline, such a call runs on a separate thread, which continues after the caller has returned
 * -ETIMEDOUT.
 */
#ifndef FOLIO_SRC_CACHE_DETACH_H
#define FOLIO_SRC_CACHE_DETACH_H

#include <stdint.h>

#include "cache/call.h"

struct detach_args {
	uint64_t first, last;
	unsigned flags;
	uint64_t round; /* of a sync of all pages: the first round that covers it (write/sync.c) */
};

/* The function that does the call; @call has no deadline. */
typedef int detach_run(struct call *call, struct folio_file *file, const struct detach_args *args);

/*
 * Returns the result of @run. If @call has a deadline, also -ENOMEM, or -ETIMEDOUT: @run continues
 * without the caller, or was not begun because an earlier one on the same file still runs.
 */
int detach_call(struct call *call, struct folio_file *file, detach_run *run,
	const struct detach_args *args);

#endif
