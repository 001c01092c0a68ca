/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish - a thread pins a page by its address in a slot, and does not touch the count. Is the
 * page ever taken while the pin lives, or overwritten before the pin's last read?
 *
 * A page is evicted, or dropped; whoever releases it overwrites its data, which are plain. The
 * evictor holds the page, issues the heavy fence, scans the slot, freezes and releases. The dropper
 * clears the entry in the tree, issues the fence, scans, and leaves a published page on the limbo
 * list, where another thread looks at it later. The pinner reads the data and then does one of
 * these: unpins; unpins and publishes another page in the same slot; converts the pin to a counted
 * one; hands it over, and publishes another page in the slot as soon as the receiver has put the
 * pin.
 *
 * All executions for two threads; with the third, all with a bounded number of preemptions.
 */
#include "publish.h"

static scenario pinned("a page was pinned");
static scenario off("a publication was called off");
static scenario again("the slot was used again for another page");
static scenario converted("a pin was converted");
static scenario handed("a pin was handed over, and the slot used again after that");
static scenario taken("eviction took the page");
static scenario kept("eviction found the pin and left the page");
static scenario counted("eviction met a counted pin and left the page");
static scenario limbo("a page went to the limbo list");
static scenario waited("a look at the limbo list found the page published still");
static scenario refilled("the frame was pinned as another page");
static scenario filled("a page was pinned as soon as it was filled");
static scenario released("a look at the limbo list put the page");
static scenario written("a page was written");
static scenario first("a page was pinned by the first thread that ever pins");
static scenario unused("an evictor took a page before any thread had pinned");

struct published_page {
	enum { CONTENTS = 7 };

	struct folio_ref ref;
	folio_u64 version;
	folio_ptr entry; /* in the tree: the page, by the address of ref, or NULL */
	folio_ptr slot;
	rl::var<int> data;
	rl::var<bool> free;
	struct lock tree_lock;
	struct handover list, mail; /* the limbo list; to the receiver */
	int other;                  /* another page, of which only the address matters */
	folio_ptr other_entry;
	folio_u64 other_version;

	void setup()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, VERSION_STEP);
		folio_ptr_store_relaxed(&entry, &ref);
		folio_ptr_store_relaxed(&slot, NULL);
		folio_ptr_store_relaxed(&other_entry, &other);
		folio_u64_store_relaxed(&other_version, 0);
		PLAIN_STORE(data, CONTENTS);
		PLAIN_STORE(free, false);
		list.init(NULL);
		mail.init(NULL);
		folio_ref_unfreeze(&ref, 1);
	}

	/* Frozen. */
	void give_back()
	{
		version_write_begin(&version);
		CLAIM(!PLAIN_LOAD(free), "released twice");
		CLAIM(!entry.debug_value(), "released with an entry");
		CLAIM(!(version.debug_value() & VERSION_HELD), "released while held");
		PLAIN_STORE(free, true);
		PLAIN_STORE(data, -1);
	}

	void put()
	{
		if (folio_ref_put(&ref))
			give_back();
	}

	void read()
	{
		CLAIM(PLAIN_LOAD(data) == CONTENTS, "pinned, but wrong contents");
	}

	bool pin()
	{
		uint64_t seen;
		void *page;

		if (!look_first(&entry, &version, &page, &seen) || !slot_is_free(&slot))
			return false;
		if (!slot_pin(&slot, &entry, &version, page, seen)) {
			off.reached();
			return false;
		}
		pinned.reached();
		return true;
	}

	/*
	 * A pin of another page, which may be called off, too. No freezer is concerned with that
	 * page, so there is no fence.
	 */
	void publish_other()
	{
		slot_publish(&slot, &other);
		slot_confirm(&slot, &other_entry, &other_version, &other, rl::rand(2));
	}

	void unpin(bool another)
	{
		if (!pin())
			return;
		read();
		slot_clear(&slot);
		if (another) {
			again.reached();
			publish_other();
		}
	}

	void convert()
	{
		if (!pin())
			return;
		folio_ref_get(&ref);
		slot_clear(&slot);
		converted.reached();
		read();
		put();
	}

	void hand_over()
	{
		if (!pin())
			return;
		mail.give(&ref);
		if (slot_is_free(&slot)) {
			handed.reached();
			publish_other();
		}
	}

	void receive()
	{
		if (!mail.take())
			return;
		read();
		slot_clear(&slot);
	}

	void evict()
	{
		bool won = false;

		folio_ref_get(&ref); /* isolated in the queue's lock */
		if (!publish_hold(&version)) {
			put();
			return;
		}
		fence_heavy();
		if (slot_has(&slot, &ref)) {
			kept.reached();
		} else {
			tree_lock.acquire();
			won = folio_ref_try_freeze(&ref, 2);
			if (won) {
				version_write_begin(&version);
				folio_ptr_store_relaxed(&entry, NULL);
			} else {
				counted.reached();
			}
			tree_lock.release();
		}
		publish_unhold(&version);
		if (won) {
			taken.reached();
			give_back();
			return;
		}
		put();
	}

	void drop()
	{
		tree_lock.acquire();
		folio_ptr_store_relaxed(&entry, NULL);
		tree_lock.release();
		fence_heavy();
		if (slot_has(&slot, &ref)) {
			limbo.reached();
			list.give(&ref);
		} else {
			put();
		}
	}

	void look()
	{
		if (!list.take())
			return;
		if (slot_has(&slot, &ref)) {
			waited.reached();
			list.give(&ref);
		} else {
			released.reached();
			put();
		}
	}

	void finish(bool dropped)
	{
		look();
		CLAIM(!(dropped && list.place.debug_value() && !slot.debug_value()),
			"the limbo list forgets a page");
		if (dropped)
			CLAIM(PLAIN_LOAD(free) || list.place.debug_value(), "the memory is lost");
		else
			CLAIM(PLAIN_LOAD(free) == !entry.debug_value(),
				"cached without an entry, or free with one");
		CLAIM(!(version.debug_value() & VERSION_HELD), "held at the end");
		CLAIM(PLAIN_LOAD(free) == folio_ref_is_frozen(&ref), "free but not frozen");
		if (!PLAIN_LOAD(free))
			CLAIM(folio_ref_count(&ref) == 1, "a wrong count at the end");
	}
};

/* A pinner, and a freezer: an evictor, or a dropper that looks at its limbo list once. */
template <bool drops> struct publish_two : rl::test_suite<publish_two<drops>, 2> {
	struct published_page page;

	void before()
	{
		page.setup();
	}

	void thread(unsigned index)
	{
		if (index == 1 && drops) {
			page.drop();
			page.look();
		} else if (index == 1) {
			page.evict();
		} else if (rl::rand(2)) {
			page.unpin(rl::rand(2));
		} else {
			page.convert();
		}
	}

	void after()
	{
		page.finish(drops);
	}
};

/* The pin is handed over. */
template <bool drops> struct publish_hand : rl::test_suite<publish_hand<drops>, 3> {
	struct published_page page;

	void before()
	{
		page.setup();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			page.hand_over();
		else if (index == 1)
			page.receive();
		else if (drops)
			page.drop();
		else
			page.evict();
	}

	void after()
	{
		page.receive();
		page.finish(drops);
	}
};

/* One thread drops, another looks at the limbo list. */
struct publish_limbo : rl::test_suite<publish_limbo, 3> {
	struct published_page page;

	void before()
	{
		page.setup();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			page.unpin(rl::rand(2));
		else if (index == 1)
			page.drop();
		else
			page.look();
	}

	void after()
	{
		page.finish(true);
	}
};

/*
 * The frame is filled for another page after the eviction; the pinner requests either page. The
 * first page is being filled when the evictor and the pinner begin.
 */
struct publish_refill : rl::test_suite<publish_refill, 3> {
	struct folio_ref ref;
	folio_u64 version;
	folio_ptr entry[2];
	folio_ptr slot;
	rl::var<int> data; /* the page that the frame contains */
	struct lock tree_lock;
	struct handover pool;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, VERSION_CHANGING);
		folio_ptr_store_relaxed(&entry[0], &ref);
		folio_ptr_store_relaxed(&entry[1], NULL);
		folio_ptr_store_relaxed(&slot, NULL);
		PLAIN_STORE(data, -1);
		pool.init(NULL);
		folio_ref_unfreeze(&ref, 2);
	}

	void put()
	{
		CLAIM(!folio_ref_put(&ref), "released while in the tree");
	}

	void fill(unsigned page)
	{
		PLAIN_STORE(data, page);
		version_write_end(&version, 0);
		put();
	}

	void refill()
	{
		fill(0);
		if (!pool.take())
			return;
		version_write_begin(&version);
		folio_ref_unfreeze(&ref, 2);
		tree_lock.acquire();
		folio_ptr_store_release(&entry[1], &ref);
		tree_lock.release();
		fill(1);
	}

	void evict()
	{
		bool won = false;

		if (!folio_ref_try_get(&ref))
			return;
		if (publish_hold(&version)) {
			fence_heavy();
			if (!slot_has(&slot, &ref)) {
				tree_lock.acquire();
				won = folio_ref_try_freeze(&ref, 2);
				if (won) {
					version_write_begin(&version);
					folio_ptr_store_relaxed(&entry[0], NULL);
				}
				tree_lock.release();
			}
			publish_unhold(&version);
		}
		if (won)
			pool.give(&ref);
		else
			put();
	}

	void pin(unsigned page)
	{
		uint64_t seen;
		void *found;

		if (!look_first(&entry[page], &version, &found, &seen) ||
			!slot_pin(&slot, &entry[page], &version, found, seen))
			return;
		CLAIM(PLAIN_LOAD(data) == (int)page, "pinned another page than requested");
		if (page)
			refilled.reached();
		slot_clear(&slot);
	}

	void thread(unsigned index)
	{
		if (index == 0)
			refill();
		else if (index == 1)
			evict();
		else
			pin(rl::rand(2));
	}
};

/* A page is filled and pinned. There is no freezer, so no fence. */
struct publish_fill : rl::test_suite<publish_fill, 2> {
	folio_u64 version;
	folio_ptr entry;
	folio_ptr slot;
	rl::var<int> data;

	void before()
	{
		folio_u64_store_relaxed(&version, VERSION_CHANGING);
		folio_ptr_store_relaxed(&entry, &version);
		folio_ptr_store_relaxed(&slot, NULL);
		PLAIN_STORE(data, -1);
	}

	void pin()
	{
		uint64_t seen;
		void *page;

		if (!look_first(&entry, &version, &page, &seen))
			return;
		slot_publish(&slot, page);
		if (!slot_confirm(&slot, &entry, &version, page, seen))
			return;
		filled.reached();
		CLAIM(PLAIN_LOAD(data) == 1, "pinned, but wrong contents");
		slot_clear(&slot);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			PLAIN_STORE(data, 1);
			version_write_end(&version, 0);
		} else {
			pin();
		}
	}
};

/* A page is written while an evictor holds it: the hold outlives the write. */
struct publish_write : rl::test_suite<publish_write, 3> {
	struct published_page page;

	void before()
	{
		page.setup();
	}

	void write()
	{
		if (!folio_ref_try_get(&page.ref))
			return;
		if (folio_ptr_load_acquire(&page.entry)) {
			version_write_begin(&page.version);
			version_write_end(&page.version, 0);
			written.reached();
		}
		page.put();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			page.unpin(false);
		else if (index == 1)
			page.evict();
		else
			write();
	}

	void after()
	{
		page.finish(false);
	}
};

/*
 * No thread has pinned yet. An evictor that does not see the first one issues no membarrier and
 * does not scan. So in the pin there is no fence but that of publish_enter; an evictor that sees it
 * goes on as in publish_two, and here leaves the page.
 */
struct publish_first : rl::test_suite<publish_first, 2> {
	struct published_page page;
	folio_u32 in_use;

	void before()
	{
		page.setup();
		folio_u32_store_relaxed(&in_use, 0);
	}

	void pin()
	{
		uint64_t seen;
		void *found;

		folio_u32_store_relaxed(&in_use, 1);
		publish_enter();
		if (!look_first(&page.entry, &page.version, &found, &seen))
			return;
		slot_publish(&page.slot, found);
		if (!slot_confirm(&page.slot, &page.entry, &page.version, found, seen))
			return;
		first.reached();
		page.read();
		slot_clear(&page.slot);
	}

	void evict()
	{
		bool won = false;

		folio_ref_get(&page.ref);
		if (!publish_hold(&page.version)) {
			page.put();
			return;
		}
		if (!publish_used(&in_use)) {
			page.tree_lock.acquire();
			won = folio_ref_try_freeze(&page.ref, 2);
			if (won) {
				version_write_begin(&page.version);
				folio_ptr_store_relaxed(&page.entry, NULL);
			}
			page.tree_lock.release();
		}
		publish_unhold(&page.version);
		if (!won) {
			page.put();
			return;
		}
		unused.reached();
		page.give_back();
	}

	void thread(unsigned index)
	{
		if (index == 0)
			pin();
		else
			evict();
	}

	void after()
	{
		page.finish(false);
	}
};

int main()
{
	model m("publish");

	m.full<struct publish_two<false>>();
	m.full<struct publish_two<true>>();
	m.bound<struct publish_hand<false>>(4);
	m.bound<struct publish_hand<true>>(4);
	m.bound<struct publish_limbo>(4);
	m.bound<struct publish_refill>(4);
	m.full<struct publish_fill>();
	m.bound<struct publish_write>(4);
	m.full<struct publish_first>();
	return m.result();
}
