/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grace.h - read-side sections, for the memory that is not type-stable: tree nodes and files.
 *
 * The only room that knows liburcu. The flavour is memb: a section is two stores to the thread's
 * own line and no fence (the side that waits pays, with membarrier(2)); qsbr would be cheaper
 * still, but an idle thread that nobody told would hold up every grace period, and no thread has to
 * register here. Nobody ever waits for a grace period on the way of a read: freeing is deferred.
 * A hit opens no section: all that it touches is type-stable (file.c).
 *
 *   call                  thread attached   inside a section   blocks
 *   grace_open            -                 never              no
 *   grace_close           yes               never              for a grace period
 *   grace_thread_attach   -                 yes                no
 *   grace_read_lock       yes               yes, nests         no
 *   grace_read_unlock     yes               yes                no
 *   grace_defer           -                 yes                no
 *   grace_barrier         -                 never              for a grace period
 *   fork                  -                 never              for a grace period that is running
 *
 * Callbacks run on a thread of this room, the reclaimer, which is there from the first grace_open to
 * the last grace_close: one after the other, oldest first, each after the sections that were open
 * when it was deferred. They may defer; they open no sections and do not call grace_barrier.
 */
#ifndef FOLIO_SRC_GRACE_H
#define FOLIO_SRC_GRACE_H

#include <stdbool.h>

/*
 * TSan does not see into liburcu, and is kept from looking at the pieces that are inlined
 * otherwise: they share words with what it does not see. It is told what a grace period promises:
 * what was done in a section, and before a defer, happens before the callbacks; and the callbacks
 * before the end of a barrier. One tag stands for all grace periods, which tells it more order than
 * there is between unrelated threads, but none between a section and the memory that it still
 * reads.
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
#else
#define _LGPL_SOURCE /* sections inline */
#endif
#include <urcu/urcu-memb.h>
#undef _LGPL_SOURCE
#include <urcu/static/urcu-memb.h>

/*
 * In what is to be freed after a grace period. Its content is nobody's business before the defer.
 */
struct grace_head {
	struct grace_head *next;
	void (*free_fn)(struct grace_head *head);
};

/*
 * Start the reclaimer, or join those who use it. Attaches the calling thread. 0; -ENOMEM where no thread
 * can be had. Each open has its close; at the last one everything deferred is called first.
 */
int grace_open(void);
void grace_close(void);

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

/*
 * Call free_fn(head) after every section that is running now has ended: with others, at the next
 * barrier at the latest. Does not block, does not allocate.
 */
void grace_defer(struct grace_head *head, void (*free_fn)(struct grace_head *head));

/*
 * Wait until everything deferred before has been called. The room is open. Not inside a section, not
 * on a hot path. Does not allocate.
 */
void grace_barrier(void);

#endif
