/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * share.h - dividing a limited resource among users that differ in speed.
 *
 * Write-back has two such resources: pages that may be dirty, and runs. The cache has all of both.
 * Each device has a share of the cache's, and each file a share of its device's. So shares form a
 * tree of three levels, and a share counts what it and the shares below it have.
 *
 * The limit of a share is the largest of three, and never more than it has plus what its parent has
 * free:
 *
 *   by speed   seven eighths of the parent's limit, in proportion to the pages that the share has
 *              written lately
 *   by space   a quarter of what the parent has free
 *   at rest    what is missing until the parent has three quarters of its limit
 *
 * A share that writes nothing does not have the first: its file is new, was idle, fails, or its
 * device does not answer. However many such shares fill up one after the other, each leaves at
 * least three quarters of what it found once they have three quarters of all. The missing eighth of
 * the first is what a new share finds although others are fast and have all that their speed gives
 * them.
 *
 * "Lately" is counted in pages that the cache has written, not in time: the caller numbers periods,
 * and a count halves with each period that ends. So a share whose device falls behind shrinks as
 * the others write, an idle one loses its part in the same way, and if no other writes, a share
 * keeps what it has.
 */
#ifndef FOLIO_SRC_CORE_SHARE_H
#define FOLIO_SRC_CORE_SHARE_H

#include <stdint.h>

#include <folio/atomic.h>

enum share_resource {
	SHARE_PAGES, /* dirty or being written back */
	SHARE_RUNS,  /* in use */
	SHARE_RESOURCES
};

struct share {
	struct share *parent;           /* set at creation; NULL: the cache's, which is all */
	folio_u64 has[SHARE_RESOURCES]; /* atomic */
	/*
	 * Atomic. Pages written, halved with each period up to this one. Stored under a lock of the
	 * caller; a reader without it may see a new value of one and an old value of the other:
	 * then the limit is wrong for a moment.
	 */
	folio_u64 written;
	folio_u64 period;
};

/* The share has nothing and has written nothing. */
void share_init(struct share *share, struct share *parent);

/* Count @n of a resource that the share, and so its parents, took or gave back. */
void share_take(struct share *share, enum share_resource resource, uint64_t n);
void share_give(struct share *share, enum share_resource resource, uint64_t n);

static inline uint64_t share_has(const struct share *share, enum share_resource resource)
{
	return folio_u64_load_relaxed(&share->has[resource]);
}

/*
 * Count @pages that the share, and so its parents, wrote in period @period. The caller makes one
 * call at a time for all shares of a cache.
 */
void share_wrote(struct share *share, uint64_t pages, uint64_t period);

/* The limit of a share in period @period. @whole: the limit of its parent. */
uint64_t share_limit(
	const struct share *share, enum share_resource resource, uint64_t whole, uint64_t period);

#endif
