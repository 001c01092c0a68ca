/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inflight - threads wait for a request slot, and a close waits for the requests of its file. Does
 * each continue, and does the close see what the requests did?
 *
 * This is src/cache/inflight.c itself. A slot is returned with one wake-up. The thread that gets it
 * may have reached its deadline by then: another thread that waits must not be forgotten. More
 * threads never have a slot than there are. A queue that awaits a slot without a thread is called
 * when one is returned, unless it is closed before. A close waits until two requests of its file
 * have ended; after that, the inode is that of another file.
 *
 * Full search with two threads. With three: all executions with a bounded number of preemptions.
 */
#include "model.h"

#include "futex.h"

static scenario late("a thread left at its deadline");
static scenario passed_on("... and left a slot");
static scenario shared("a thread took a slot that another one had returned");
static scenario told("a queue was told that a slot is free");
static scenario drained("a close has waited");

/* The part of src/cache/types.h that the source uses. */
#define FOLIO_SRC_CACHE_TYPES_H
struct slot_waiter {
	void (*freed)(struct slot_waiter *stall);
	struct slot_waiter *next;
	struct slot_waiter **link;
};

struct slot_waiters {
	pthread_mutex_t lock;
	struct slot_waiter *first;
	folio_u32 count;
};

struct folio_cache {
	uint32_t timeout_ms;
	folio_u32 request_slots;
	struct slot_waiters slot_waiters;
};

struct inode {
	folio_u32 fills;
};

#include "cache/inflight.c"

static void waiters_begin(struct folio_cache *cache)
{
	pthread_mutex_init(&cache->slot_waiters.lock, NULL);
	cache->slot_waiters.first = NULL;
	folio_u32_store_relaxed(&cache->slot_waiters.count, 0);
}

static void waiters_end(struct folio_cache *cache)
{
	pthread_mutex_destroy(&cache->slot_waiters.lock);
}

/* One slot is returned. Two threads want it, one of them with a deadline. */
struct slots_left : rl::test_suite<slots_left, 3> {
	struct folio_cache cache;

	void before()
	{
		clock_begin();
		cache.timeout_ms = 1;
		folio_u32_store_relaxed(&cache.request_slots, 0);
		waiters_begin(&cache);
	}

	void thread(unsigned index)
	{
		struct timespec until = deadline_in(1000);

		if (index == 2) {
			slot_give(&cache);
			return;
		}
		if (slot_take(&cache, true, index ? NULL : &until)) {
			slot_give(&cache);
			return;
		}
		CLAIM(!index, "left without a deadline");
		late.reached();
		if (cache.request_slots.debug_value())
			passed_on.reached();
	}

	void after()
	{
		CLAIM(cache.request_slots.debug_value() == 1, "a slot is lost");
		waiters_end(&cache);
	}
};

/*
 * Each thread but the last wants the one slot for a queue, without waiting. The last one returns
 * it. A queue that awaits it is called, or learns that a slot is free; a queue that is closed is
 * not called any more.
 */
template <int queues> struct stalled : rl::test_suite<stalled<queues>, queues + 1> {
	struct queue {
		struct slot_waiter stall;
		rl::var<int> called;
	};

	struct folio_cache cache;
	struct queue queue[queues];
	bool waits[queues], closed[queues];

	static void freed(struct slot_waiter *stall)
	{
		struct queue *queue = (struct queue *)stall;

		PLAIN_STORE(queue->called, PLAIN_LOAD(queue->called) + 1);
	}

	void before()
	{
		cache.timeout_ms = 0;
		folio_u32_store_relaxed(&cache.request_slots, 0);
		waiters_begin(&cache);
		for (int i = 0; i < queues; i++) {
			queue[i].stall.freed = freed;
			queue[i].stall.link = NULL;
			PLAIN_STORE(queue[i].called, 0);
			waits[i] = closed[i] = false;
		}
	}

	void thread(unsigned index)
	{
		if (index == queues) {
			slot_give(&cache);
			return;
		}
		if (slot_take_free(&cache)) {
			shared.reached();
			slot_give(&cache);
			return;
		}
		waits[index] = slot_await(&cache, &queue[index].stall);
		if (index) {
			slot_unawait(&cache, &queue[index].stall);
			closed[index] = true;
			/* A call that had begun has returned: this is no race. */
			PLAIN_STORE(queue[index].called, 2);
		}
	}

	void after()
	{
		for (int i = 0; i < queues; i++) {
			int called = PLAIN_LOAD(queue[i].called);

			CLAIM(closed[i] ? called == 2 : called == waits[i],
				"a queue that waits for a slot is not called once");
			if (called == 1)
				told.reached();
		}
		CLAIM(!cache.slot_waiters.first, "a queue waits while a slot is free");
		CLAIM(!cache.slot_waiters.count.debug_value(), "the count of queues is wrong");
		waiters_end(&cache);
	}
};

/* Threads share one slot. */
template <int threads> struct slots_shared : rl::test_suite<slots_shared<threads>, threads> {
	struct folio_cache cache;
	unsigned used, taken;

	void before()
	{
		cache.timeout_ms = 1;
		folio_u32_store_relaxed(&cache.request_slots, 1);
		waiters_begin(&cache);
		used = taken = 0;
	}

	void after()
	{
		waiters_end(&cache);
	}

	void thread(unsigned)
	{
		CLAIM(slot_take(&cache, true, NULL), "left without a deadline");
		CLAIM(!used++, "more requests than slots");
		if (taken++)
			shared.reached();
		used--;
		slot_give(&cache);
	}
};

/* The requests of a file end, and the file is closed. */
template <int requests> struct drain : rl::test_suite<drain<requests>, requests + 1> {
	struct inode inode;
	rl::var<int> done[requests];

	void before()
	{
		folio_u32_store_relaxed(&inode.fills, 0);
		for (int i = 0; i < requests; i++) {
			PLAIN_STORE(done[i], 0);
			inflight_begin(&inode);
		}
	}

	void thread(unsigned index)
	{
		if (index) {
			PLAIN_STORE(done[index - 1], 1);
			inflight_end(&inode);
			return;
		}
		if (inode.fills.debug_value())
			drained.reached();
		inflight_drain(&inode, NULL);
		for (int i = 0; i < requests; i++)
			CLAIM(PLAIN_LOAD(done[i]), "closed before a request has ended");
		/* The next file. */
		folio_u32_store_relaxed(&inode.fills, 0);
	}
};

int main()
{
	model m("inflight");

	m.bound<struct slots_left>(4);
	m.full<struct slots_shared<2>>();
	m.bound<struct slots_shared<3>>(3);
	m.full<struct stalled<1>>();
	m.bound<struct stalled<2>>(3);
	m.full<struct drain<1>>();
	m.bound<struct drain<2>>(4);
	return m.result();
}
