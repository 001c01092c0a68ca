/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grace.h - read-side sections, for the memory that is not type-stable: tree nodes and files.
 *
 * The only room that knows liburcu. The flavour is memb: a section is two stores to the thread's own
 * line and no fence (the side that waits pays, with membarrier(2)); qsbr would be cheaper still, but an
 * idle thread that nobody told would hold up every grace period, and no thread has to register
 * here. Nobody ever waits for a grace period on the way of a read: freeing is deferred.
 */
#ifndef FOLIO_SRC_GRACE_H
#define FOLIO_SRC_GRACE_H

#define _LGPL_SOURCE
#include <urcu/urcu-memb.h>
#undef _LGPL_SOURCE

/* In what is to be freed after a grace period. */
struct grace_head {
	struct rcu_head rcu;
};

/*
 * TSan does not know liburcu: it is told that leaving a section happens before the callbacks of a later grace
 * period.
 */
#if defined(__SANITIZE_THREAD__)
#define GRACE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GRACE_TSAN 1
#endif
#endif

#ifdef GRACE_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
extern char grace_tsan_tag;
#endif

/* Make the calling thread known. Idempotent; undone when the thread ends. 0 or -ENOMEM. */
int grace_thread_attach(void);

/* Nest. The thread is attached. May block inside: only frees wait. */
static inline void grace_read_lock(void)
{
	urcu_memb_read_lock();
}

static inline void grace_read_unlock(void)
{
#ifdef GRACE_TSAN
	__tsan_release(&grace_tsan_tag);
#endif
	urcu_memb_read_unlock();
}

/* Call free_fn(head) after every section that is running now has ended. The thread is attached. Does not block. */
void grace_defer(struct grace_head *head, void (*free_fn)(struct grace_head *head));

/* Wait until everything deferred before has been called. Not inside a section, not on a hot path. */
void grace_barrier(void);

#endif
