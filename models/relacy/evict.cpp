/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict - does eviction ever take a folio that a thread has pinned, and is each folio released
 * exactly once and never lost, while another thread drops the page?
 *
 * The steps of src/evict/evict.c on one folio. The evictor isolates it with a reference under the
 * queue's lock. Under the tree's lock it checks that the folio is still in the tree, freezes it at
 * exactly two references, makes the version odd and erases it; if any of this fails, it puts the
 * folio back in its queue. A second thread drops the page: it erases it under the tree's lock,
 * unlinks it under the queue's, and puts. A look-up pins the page and reads plain data, which the
 * folio's next owner overwrites. In a second run another look-up replaces the dropper.
 *
 * All executions with at most five preemptions, three threads; random ones beyond.
 */
#include "model.h"
#include "core/version.h"

static scenario evicted("eviction took it");
static scenario kept("eviction met a pin and put it back");
static scenario lost_race("eviction found it erased from the tree");
static scenario last("the evictor's reference was the last");
static scenario pinned("a look-up found it and accepted it");

template <bool drops> struct evict : rl::test_suite<evict<drops>, 3> {
	enum { CONTENTS = 7 };

	struct folio_ref ref;
	folio_u64 version;
	folio_ptr slot;
	folio_ptr owner; /* changes under the tree's lock */
	rl::var<int> data;
	rl::var<bool> queued; /* guarded by queue_lock */
	struct lock tree_lock, queue_lock;
	struct handover pool;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		folio_ptr_store_relaxed(&slot, &ref);
		folio_ptr_store_relaxed(&owner, &tree_lock);
		PLAIN_STORE(data, CONTENTS);
		PLAIN_STORE(queued, true);
		pool.init(NULL);
		folio_ref_unfreeze(&ref, 1);
	}

	/* Frozen, by a put or by eviction. */
	void give_back()
	{
		CLAIM(!PLAIN_LOAD(queued), "released while in a queue");
		CLAIM(version.debug_value() & 1, "released with an even version");
		PLAIN_STORE(data, -1);
		pool.give(&ref);
	}

	bool put()
	{
		if (!folio_ref_put(&ref))
			return false;
		version_write_begin(&version);
		give_back();
		return true;
	}

	void erase()
	{
		folio_ptr_store_relaxed(&slot, NULL);
		folio_ptr_store_relaxed(&owner, NULL);
	}

	bool isolate()
	{
		bool found;

		queue_lock.acquire();
		found = PLAIN_LOAD(queued) && folio_ref_try_get(&ref);
		if (found)
			PLAIN_STORE(queued, false);
		queue_lock.release();
		return found;
	}

	bool take()
	{
		bool taken = false;

		if (!folio_ptr_load_acquire(&owner)) {
			lost_race.reached();
			return false;
		}
		tree_lock.acquire();
		if (folio_ptr_load_relaxed(&owner) && folio_ref_try_freeze(&ref, 2)) {
			version_write_begin(&version);
			erase();
			taken = true;
		}
		tree_lock.release();
		return taken;
	}

	void evict_one()
	{
		if (!isolate())
			return;
		if (take()) {
			evicted.reached();
			give_back();
			return;
		}
		queue_lock.acquire();
		if (folio_ptr_load_relaxed(&owner)) {
			kept.reached();
			PLAIN_STORE(queued, true);
		}
		queue_lock.release();
		if (put())
			last.reached();
	}

	void drop()
	{
		bool mine;

		tree_lock.acquire();
		mine = folio_ptr_load_relaxed(&owner);
		if (mine)
			erase();
		tree_lock.release();
		if (!mine)
			return;
		queue_lock.acquire();
		PLAIN_STORE(queued, false);
		queue_lock.release();
		put();
	}

	void look_up()
	{
		void *entry = folio_ptr_load_acquire(&slot);

		if (!entry || !folio_ref_try_get(&ref))
			return;
		if (folio_ptr_load_relaxed(&slot) == entry) {
			pinned.reached();
			CLAIM(PLAIN_LOAD(data) == CONTENTS, "pinned, but wrong contents");
		}
		put();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			evict_one();
		else if (index == 1 && drops)
			drop();
		else
			look_up();
	}

	void after()
	{
		bool in_tree = folio_ptr_load_relaxed(&slot);

		CLAIM(!(drops && in_tree), "dropped, and still in the tree");
		CLAIM(PLAIN_LOAD(queued) == in_tree,
			"in the queue but not in the tree, or the reverse");
		CLAIM(folio_ref_count(&ref) == in_tree, "a wrong count at the end");
		CLAIM(!in_tree == (pool.place.debug_value() == &ref), "the memory is lost");
		CLAIM(in_tree != folio_ref_is_frozen(&ref), "free but not frozen");
	}
};

int main()
{
	model m("evict");

	m.bound<struct evict<true>>(5);
	m.bound<struct evict<false>>(5);
	m.random<struct evict<true>>(200000);
	return m.result();
}
