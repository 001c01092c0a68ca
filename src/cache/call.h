/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call.h - one call of a program: its statistics shard, and how long it may wait.
 *
 * A public function that may miss begins a call on its stack and passes it down by pointer. Threads
 * of the library make one from their shard, without a deadline. Hits have none.
 */
#ifndef FOLIO_SRC_CACHE_CALL_H
#define FOLIO_SRC_CACHE_CALL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/compiler.h"
#include "cache/thread.h"
#include "cache/types.h"

/* What a call with a watch would wait for. */
enum blocked {
	BLOCKED_MEMORY, /* memory, or anything that cannot be watched */
	BLOCKED_SLOT,   /* a request slot */
	BLOCKED_FOLIO,  /* the fill, lock or write-back of a folio: watch is attached */
};

struct call {
	struct folio_cache *cache;
	struct stats_shard *shard;
	/*
	 * NULL: the call may wait for ever; else &deadline. Each wait for the device, or for a
	 * thread that may be waiting for the device, ends at that time.
	 */
	const struct timespec *until;
	struct timespec deadline; /* of CLOCK_MONOTONIC */
	bool nowait;              /* return -EAGAIN rather than wait for the device */
	bool once;                /* leave the hot set unchanged */
	bool cached_only;         /* with nowait: -EAGAIN rather than begin to read a page */
	bool free_slots;          /* likewise: rather than wait for a slot in the backend */
	/*
	 * With nowait: attached to the folio for which the call would wait (BLOCKED_FOLIO). NULL:
	 * no one wants to know.
	 */
	struct watch *watch;
	enum blocked blocked; /* with watch and -EAGAIN */
	int error;            /* with PAGE_FAILED (read/op.h): -errno */
};

/* If folio_cache_params.timeout_ms is set, the call gets a deadline that far from now. */
static inline void call_set_deadline(struct call *call)
{
	uint32_t ms = call->cache->timeout_ms;

	if (likely(!ms))
		return;
	call->deadline = deadline_in(ms);
	call->until = &call->deadline;
}

/*
 * May the call wait for the lock of a folio? If not, sets call->error: -EAGAIN if the call does not
 * wait; -EDEADLK if its thread has a folio of the cache locked (folio_lock). The thread that has
 * the other one locked may wait for that folio, or be the same thread. A call with a watch waits
 * for no lock, and its thread may not be the one that began the request.
 */
static inline bool call_may_lock(struct call *call)
{
	call->error = call->nowait ? -EAGAIN : 0;
	if (unlikely(thread_has_lock(call->cache)) && !call->watch)
		call->error = -EDEADLK;
	return !call->error;
}

/*
 * For a call that does not wait, and found a pinned folio locked, or with @to_lock one that it
 * cannot lock: attach its watch to it. Returns false if the call has a watch, and the folio is not
 * so by now: look again.
 */
static inline bool call_leave(struct call *call, struct folio *folio, bool to_lock)
{
	call->error = -EAGAIN;
	if (!call->watch)
		return true;
	if (!watch_attach(call->watch, folio, to_lock))
		return false;
	call->blocked = BLOCKED_FOLIO;
	return true;
}

/*
 * Begin a call on @cache; @id: the id of the cache, of which a handle has a copy. Returns 0, or
 * -ESTALE in a child of the process that opened the cache.
 */
static inline int call_begin(struct call *call, struct folio_cache *cache, uint64_t id, bool nowait)
{
	*call = (struct call){
		.cache = cache,
		.shard = thread_enter(cache, id),
		.nowait = nowait,
	};
	if (unlikely(!call->shard))
		return -ESTALE;
	call_set_deadline(call);
	return 0;
}

/* As call_begin, for a call that waits for locks of folios. Also returns -EDEADLK. */
static inline int call_begin_locking(struct call *call, struct folio_cache *cache, uint64_t id)
{
	int r = call_begin(call, cache, id, false);

	if (r)
		return r;
	return call_may_lock(call) ? 0 : call->error;
}

#endif
