/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * op.h - the verdict of a step that needs a page, and the state that the steps of one read share.
 *
 * A switch over verdicts has no default: the compiler names each case that it does not handle.
 */
#ifndef FOLIO_SRC_READ_OP_H
#define FOLIO_SRC_READ_OP_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/call.h"

enum page_verdict {
	PAGE_READY,         /* cached, up to date: *folio has a reference, or bytes are copied */
	PAGE_LOST_RACE,     /* another thread stored the page first: look it up */
	PAGE_CHANGED,       /* the file or the folio has changed since: look it up again */
	PAGE_PAST_END,      /* by now the file ends before this page */
	PAGE_READ_SINGLY,   /* a read of several pages failed: read this one alone */
	PAGE_NOT_SUBMITTED, /* the filler got no request slot before its own deadline */
	PAGE_NO_NODE,       /* the tree has no node for it */
	PAGE_FAILED, /* call->error: -ENOMEM, -EAGAIN, -ETIMEDOUT, -EOVERFLOW, or the device's */
};

struct page_range {
	uint64_t first, end; /* end is not part of it */
};

struct read_op {
	struct call *call;
	struct folio_file *file;
	/*
	 * A read of several pages failed: pages before this one are read one at a time, so that
	 * only the bad one fails.
	 */
	uint64_t single_before;
	/* Pages before this one were read or awaited by this call: finding them is no hit. */
	uint64_t filled_before;
	/* A folio was changed during a copy: from then on, each copy is of one page. */
	bool disturbed;
	bool stopped; /* the read ended early because of call->error */
	/* Of a read into several buffers: bytes that it needs after those of this step. */
	size_t later;
};

static inline enum page_verdict page_failed(struct call *call, int error)
{
	call->error = error;
	return PAGE_FAILED;
}

/*
 * The -errno of a verdict, for public functions. @past_end is returned for PAGE_PAST_END: a read
 * just ends there, and a get has no page. The verdicts that ask for another look-up end a call only
 * when its deadline has passed.
 */
static inline int verdict_errno(enum page_verdict verdict, const struct call *call, int past_end)
{
	switch (verdict) {
	case PAGE_READY:
		return 0;
	case PAGE_PAST_END:
		return past_end;
	case PAGE_FAILED:
		return call->error;
	case PAGE_NO_NODE:
		return -ENOMEM;
	case PAGE_LOST_RACE:
	case PAGE_CHANGED:
	case PAGE_READ_SINGLY:
	case PAGE_NOT_SUBMITTED:
		return -ETIMEDOUT;
	}
	return -EINVAL;
}

#endif
