/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grace.c - threads become known by themselves, one thread frees what was deferred, and fork leaves
 * a child that works.
 *
 * liburcu keeps a list of the threads whose sections it waits for. A thread gets into it at its
 * first call of the library (grace_thread_attach) and out of it by the destructor of a thread key.
 * A thread that somebody else has registered with the same flavour (the program itself) is taken as
 * it is, and is left registered.
 *
 * What is deferred goes to the reclaimer, a thread that is there while somebody has opened the room.
 * liburcu has one of its own (call_rcu), but ends the process when it cannot have it, or cannot
 * have memory for a barrier; here the former is told to who opens, and a barrier is a deferred call
 * like any other, on the stack of who waits. The two sides:
 *
 *   who defers                              reclaimer
 *   A  unlinks, so that no new section      1  takes the whole list      acquire: sees A
 *      finds it                             2  grace period: every section that was open is over
 *   B  pushes it              release       3  calls, oldest first
 *
 * It is woken by every DEFER_BATCH-th push, by barriers and by the last close: one grace period for
 * many nodes, and what waits without a bound in time is bounded in number.
 *
 * fork: the child has one thread, but inherits the list of all of them. Their entries lie in
 * thread-local memory that the child's next threads are given again, and one that stood in a
 * section would hold up the child's grace periods for ever. So attached threads are also on a list
 * of our own, and the child takes all but itself off liburcu's. liburcu's list must be whole at the
 * moment of the fork; it is changed
 *
 *   - by threads that attach and detach: they hold attach_lock, and so does the fork;
 *   - by grace periods, which shuffle it: ours run under period_lock, and the fork holds that, too.
 *
 * What is pending belongs to the parent's caches, which the child cannot use nor close; or it is a
 * barrier on the stack of a thread that the child does not have. The child forgets it.
 *
 * Lock order: open_lock, attach_lock, period_lock, then liburcu's own.
 */
#include "grace.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <urcu/list.h>

#include "futex.h"

#define DEFER_BATCH 64

/*
 * A thread that this file has registered. In the thread's own memory; on the list while attached.
 */
struct attachment {
	struct cds_list_head link;  /* guarded by attach_lock */
	struct urcu_reader *reader; /* liburcu's entry */
};

static __thread struct attachment self;

static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;
static CDS_LIST_HEAD(attachments); /* guarded by attach_lock */

/* Set once, by set_up. */
static pthread_once_t set_up_once = PTHREAD_ONCE_INIT;
static int set_up_error;
static pthread_key_t detach_key;

/* The reclaimer. */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned opens;      /* guarded by open_lock */
static pthread_t reclaimer; /* guarded by open_lock; there while opens is not 0 */
static pthread_mutex_t period_lock = PTHREAD_MUTEX_INITIALIZER;
static folio_ptr deferred; /* newest first */
static folio_u32 defers;   /* counts to the next DEFER_BATCH */
static folio_u32 wakeup;   /* futex word: changes when the reclaimer has something to do */
static folio_u32 stop;

#ifdef GRACE_TSAN
char grace_tsan_tag;
#endif

/*
 * The thread ends. Another key's destructor may still call the library after this one: the thread
 * then attaches again, which sets the key again, and so this runs once more, as often as the system
 * goes round its keys. After that nothing would take the thread out of the list that is in its own memory:
 * the key is set again in any case, so that the rounds are counted.
 */
static __thread unsigned rounds;
static __thread bool attached;

static void detach(void *value)
{
	if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
		pthread_setspecific(detach_key, value);
	if (!attached)
		return;
	attached = false;
	pthread_mutex_lock(&attach_lock);
	urcu_memb_unregister_thread();
	cds_list_del(&self.link);
	pthread_mutex_unlock(&attach_lock);
}

/*
 * A thread that forks inside of a section, in a signal's handler, cannot wait for the locks: the reclaimer could be waiting for it to
 * leave. What they guard may then be in pieces in the child, which gets no cache of its own.
 */
static bool forked_inside;

static void before_fork(void)
{
	if (urcu_memb_read_ongoing())
		return;
	pthread_mutex_lock(&open_lock);
	pthread_mutex_lock(&attach_lock);
	pthread_mutex_lock(&period_lock);
}

static void after_fork_parent(void)
{
	if (urcu_memb_read_ongoing())
		return;
	pthread_mutex_unlock(&period_lock);
	pthread_mutex_unlock(&attach_lock);
	pthread_mutex_unlock(&open_lock);
}

static void after_fork_child(void)
{
	struct cds_list_head *link, *next;
	struct attachment *other;

	if (urcu_memb_read_ongoing()) {
		forked_inside = true;
		return;
	}
	for (link = attachments.next; link != &attachments; link = next) {
		next = link->next;
		other = caa_container_of(link, struct attachment, link);
		if (other == &self)
			continue;
		cds_list_del(&other->reader->node);
		cds_list_del(&other->link);
	}
	/* The reclaimer is not here, and whatever it was going to do is not the child's. */
	opens = 0;
	folio_ptr_store_relaxed(&deferred, NULL);
	folio_u32_store_relaxed(&stop, 0);
	after_fork_parent();
}

static void set_up(void)
{
	set_up_error = pthread_key_create(&detach_key, detach);
	if (set_up_error)
		return;
	set_up_error = pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int grace_thread_attach(void)
{
	/* By whomever. */
	if (URCU_TLS(urcu_memb_reader).registered)
		return 0;
	/*
	 * What fails is a thread key or a few bytes for it. Too many keys in the process is, like
	 * too little memory, nothing that the caller can mend.
	 */
	pthread_once(&set_up_once, set_up);
	/* With a value, or the destructor would not be called. */
	if (set_up_error || rounds >= PTHREAD_DESTRUCTOR_ITERATIONS ||
		pthread_setspecific(detach_key, &self))
		return -ENOMEM;
	pthread_mutex_lock(&attach_lock);
	urcu_memb_register_thread();
	self.reader = &URCU_TLS(urcu_memb_reader);
	cds_list_add(&self.link, &attachments);
	attached = true;
	pthread_mutex_unlock(&attach_lock);
	return 0;
}

static void wake(void)
{
	/* release: pairs with the reclaimer's load; it sees what was pushed, or that it is to stop. */
	folio_u32_fetch_add_release(&wakeup, 1);
	futex_wake(&wakeup, 1);
}

/* Everything that was pushed before now, oldest first, after a grace period. */
static void call_deferred(void)
{
	/* acquire: pairs with grace_defer. Of all who pushed: each push went on from the one before. */
	struct grace_head *newest = folio_ptr_exchange_acquire(&deferred, NULL), *oldest = NULL,
			  *next;

	if (!newest)
		return;
	pthread_mutex_lock(&period_lock);
	urcu_memb_synchronize_rcu();
	pthread_mutex_unlock(&period_lock);
#ifdef GRACE_TSAN
	__tsan_acquire(&grace_tsan_tag);
#endif
	for (; newest; newest = next) {
		next = newest->next;
		newest->next = oldest;
		oldest = newest;
	}
	for (; oldest; oldest = next) {
		next = oldest->next;
		oldest->free_fn(oldest);
	}
}

static void *reclaim(void *arg)
{
	uint32_t seen;

	(void)arg;
	for (;;) {
		/* Before the list: who pushes and wakes after it was taken ends the wait. */
		seen = folio_u32_load_acquire(&wakeup);
		call_deferred();
		if (!folio_u32_load_acquire(&stop))
			futex_wait(&wakeup, seen);
		/* What is called may defer. */
		else if (!folio_ptr_load_relaxed(&deferred))
			return NULL;
	}
}

int grace_open(void)
{
	sigset_t all, old;
	int r;

	if (forked_inside)
		return -ESTALE;
	r = grace_thread_attach();
	if (r)
		return r;
	pthread_mutex_lock(&open_lock);
	if (!opens) {
		folio_u32_store_relaxed(&stop, 0);
		/* Signals are for the program's threads. */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		r = -pthread_create(&reclaimer, NULL, reclaim, NULL);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (!r)
			pthread_setname_np(reclaimer, "folio-grace");
	}
	if (!r)
		opens++;
	pthread_mutex_unlock(&open_lock);
	return r == -EAGAIN ? -ENOMEM : r;
}

void grace_close(void)
{
	assert(!urcu_memb_read_ongoing());
	pthread_mutex_lock(&open_lock);
	if (!--opens) {
		folio_u32_store_release(&stop, 1);
		wake();
		pthread_join(reclaimer, NULL);
	}
	pthread_mutex_unlock(&open_lock);
}

static void push(struct grace_head *head)
{
	void *newest = folio_ptr_load_relaxed(&deferred);

#ifdef GRACE_TSAN
	__tsan_release(&grace_tsan_tag);
#endif
	do
		head->next = newest;
	/* release: pairs with call_deferred; what left before is out of sight when the grace period begins. */
	while (!folio_ptr_cas_release(&deferred, &newest, head));
}

void grace_defer(struct grace_head *head, void (*free_fn)(struct grace_head *head))
{
	head->free_fn = free_fn;
	push(head);
	if ((folio_u32_fetch_add_relaxed(&defers, 1) + 1) % DEFER_BATCH == 0)
		wake();
}

/* On the stack of who waits. */
struct barrier {
	struct grace_head head;
	folio_u32 over; /* futex word */
};

static void barrier_over(struct grace_head *head)
{
	struct barrier *barrier = caa_container_of(head, struct barrier, head);

#ifdef GRACE_TSAN
	__tsan_release(&grace_tsan_tag);
#endif
	/*
	 * release: pairs with grace_barrier; what was called is seen. The barrier is gone after this: the wake
	 * may be for nobody.
	 */
	folio_u32_store_release(&barrier->over, 1);
	futex_wake(&barrier->over, INT_MAX);
}

void grace_barrier(void)
{
	struct barrier barrier = {.head.free_fn = barrier_over};

	/* Inside a section it would wait for itself. */
	assert(!urcu_memb_read_ongoing());
	push(&barrier.head);
	wake();
	while (!folio_u32_load_acquire(&barrier.over))
		futex_wait(&barrier.over, 0);
}
