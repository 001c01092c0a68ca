/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict - does eviction take a folio from under nobody who pinned it, and is it released once and never lost,
 * while somebody drops the page at the same time?
 *
 * The steps of src/evict.c on one folio: an evictor (isolate with a reference under the queue's lock; under the tree's
 * lock: still in the tree? freeze at exactly two, version, erase; else put it back in its queue), one who drops
 * the page (erase under the tree's lock, unlink under the queue's, put), and a look-up by pin that reads plain
 * data, which whoever has the folio next overwrites. Again with a second look-up in place of the dropper.
 *
 * All executions with at most five preemptions, three threads; random ones beyond.
 */
#include "model.h"
#include "version.h"

static scenario evicted("eviction took it");
static scenario kept("eviction met a pin and put it back");
static scenario lost_race("eviction found it out of the tree");
static scenario last("the evictor's reference was the last");
static scenario pinned("a look-up found it and was content");

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
		CLAIM(!PLAIN_LOAD(queued), "given back while in a queue");
		CLAIM(version.debug_value() & 1, "given back with an even version");
		PLAIN_STORE(data, -1);
		pool.give(&ref);
	}

	bool put()
	{
		if (!folio_ref_put(&ref))
			return false;
		version_break(&version);
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
			version_break(&version);
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
			CLAIM(PLAIN_LOAD(data) == CONTENTS, "pinned, and not the contents");
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
			"in a queue, or in the tree, and not in the other");
		CLAIM(folio_ref_count(&ref) == in_tree, "the references are not what is left");
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
