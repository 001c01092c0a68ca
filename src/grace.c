/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grace.c - threads become known by themselves, and fork leaves a child that works.
 *
 * liburcu keeps a list of the threads whose sections it waits for. A thread gets into it at its
 * first call of the library (grace_thread_attach) and out of it by the destructor of a thread key.
 * A thread that somebody else has registered with the same flavour (the program itself, or
 * liburcu's own thread that runs the callbacks) is taken as it is, and is left registered.
 *
 * fork: the child has one thread, but inherits the list of all of them. Their entries lie in
 * thread-local memory that the child's next threads are given again, and one that stood in a
 * section would hold up the child's grace periods for ever. So attached threads are also on a list
 * of our own, and the child takes all but itself off liburcu's. liburcu's list must be whole at the
 * moment of the fork; it is changed
 *
 *   - by threads that attach and detach: they hold attach_lock, and so does the fork;
 *   - by grace periods, which shuffle it: liburcu's thread stands still across the fork, see
 *     urcu_memb_call_rcu_before_fork.
 *
 * Deferred calls that were pending are made twice, once in each process, each on its own memory.
 *
 * Lock order: attach_lock, then liburcu's own.
 */
#include "grace.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include <urcu/list.h>

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

#ifdef GRACE_TSAN
char grace_tsan_tag;

/*
 * TSan's own: memory allocated between the two may be freed by another thread that it knows no
 * order with.
 */
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#endif

/*
 * The thread ends. Another key's destructor may still call the library after this one: the thread
 * then attaches again, which sets the key again, and so this runs once more.
 */
static void detach(void *value)
{
	(void)value;
	pthread_mutex_lock(&attach_lock);
	urcu_memb_unregister_thread();
	cds_list_del(&self.link);
	pthread_mutex_unlock(&attach_lock);
}

/*
 * The thread that forks is in no section, or liburcu's thread could be waiting for it to leave
 * while it waits here for liburcu's thread.
 */
static void before_fork(void)
{
	assert(!urcu_memb_read_ongoing());
	pthread_mutex_lock(&attach_lock);
	urcu_memb_call_rcu_before_fork();
}

static void after_fork_parent(void)
{
	urcu_memb_call_rcu_after_fork_parent();
	pthread_mutex_unlock(&attach_lock);
}

/*
 * Order: the dead threads' entries go first, since liburcu starts a new thread for the callbacks,
 * which may be given the memory of one of them.
 */
static void after_fork_child(void)
{
	struct cds_list_head *link, *next;
	struct attachment *other;

	for (link = attachments.next; link != &attachments; link = next) {
		next = link->next;
		other = caa_container_of(link, struct attachment, link);
		if (other == &self)
			continue;
		cds_list_del(&other->reader->node);
		cds_list_del(&other->link);
	}
	urcu_memb_call_rcu_after_fork_child();
	pthread_mutex_unlock(&attach_lock);
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
	if (set_up_error || pthread_setspecific(detach_key, &self))
		return -ENOMEM;
	pthread_mutex_lock(&attach_lock);
	urcu_memb_register_thread();
	self.reader = &URCU_TLS(urcu_memb_reader);
	cds_list_add(&self.link, &attachments);
	pthread_mutex_unlock(&attach_lock);
	return 0;
}

/* On liburcu's thread. */
static void call(struct rcu_head *rcu)
{
	struct grace_head *head = caa_container_of(rcu, struct grace_head, rcu);

#ifdef GRACE_TSAN
	__tsan_acquire(&grace_tsan_tag);
#endif
	head->free_fn(head);
#ifdef GRACE_TSAN
	__tsan_release(&grace_tsan_tag);
#endif
}

void grace_defer(struct grace_head *head, void (*free_fn)(struct grace_head *head))
{
	head->free_fn = free_fn;
#ifdef GRACE_TSAN
	__tsan_release(&grace_tsan_tag);
#endif
	urcu_memb_call_rcu(&head->rcu, call);
}

void grace_barrier(void)
{
	/* Inside a section it would wait for itself; liburcu prints a line and does not wait. */
	assert(!urcu_memb_read_ongoing());
#ifdef GRACE_TSAN
	/* liburcu's barrier allocates what its thread frees, by an order that TSan does not see. */
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
	urcu_memb_barrier();
#ifdef GRACE_TSAN
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
	__tsan_acquire(&grace_tsan_tag);
#endif
}

void grace_hit_wake(void)
{
	urcu_common_wake_up_gp(&urcu_memb_gp);
}
