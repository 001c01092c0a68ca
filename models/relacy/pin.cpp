/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin - is what a pinned reader finds good the contents of the life that he pinned, when the same folio was evicted and
 * fills the same page again, so that the slot says the same word as before?
 *
 * One thread evicts the folio from its slot (freeze, version, erase) and fills the page again in the same folio. Readers
 * pin: slot, get, slot again, flags; what these call good they read, plain data. The first look may have seen the last
 * life, and the get is of the new one: the flags are of the new one then, since they say LOCKED before the count is
 * unfrozen.
 *
 * A copying reader, the same: the version that it began with may be even while its look at the slot was of the last life.
 *
 * Full search with one reader of either kind; with two who pin: all executions with at most five preemptions.
 */
#include "model.h"

#include "futex.h"

#include "folio.h"

static scenario before_evict("a reader read the first life");
static scenario after_fill("a reader read the second life");
static scenario across("a reader saw the slot in one life and pinned the next");
static scenario refused("a pin kept eviction away");
static scenario copied("a copy of the second life was accepted");

template <int pins, int copies> struct pin : rl::test_suite<pin<pins, copies>, 1 + pins + copies> {
	char memory[sizeof(struct folio) + 64 + FOLIO_SKEW];
	struct folio *folio;
	folio_ptr slot;
	rl::var<int> data; /* the number of the life, for those who pin */
	folio_u64 word;    /* the same, for those who copy */
	int life;

	pin()
	{
		folio = reinterpret_cast<struct folio *>(
			(((uintptr_t)memory + 63) & ~(uintptr_t)63) + FOLIO_SKEW);
		::new (folio) struct folio();
	}

	~pin()
	{
		folio->~folio();
	}

	void before()
	{
		folio_ref_init_frozen(&folio->ref);
		folio_u64_store_relaxed(&folio->version, 0);
		folio_u32_store_relaxed(&folio->flags, FOLIO_UPTODATE);
		folio->order = 0;
		PLAIN_STORE(data, 1);
		folio_u64_store_relaxed(&word, 1);
		life = 1;
		folio_ptr_store_relaxed(&slot, entry_of(folio));
		folio_ref_unfreeze(&folio->ref, 1);
	}

	void evict_and_fill()
	{
		if (!folio_ref_try_freeze(&folio->ref, 1)) {
			refused.reached();
			return;
		}
		version_break(&folio->version);
		folio_ptr_store_relaxed(&slot, NULL);
		life = 2;
		folio_u32_store_relaxed(&folio->flags, FOLIO_LOCKED);
		folio_ref_unfreeze(&folio->ref, 2);
		folio_ptr_store_release(&slot, entry_of(folio));
		PLAIN_STORE(data, 2);
		folio_u64_store_relaxed(&word, 2);
		version_settle(&folio->version);
		folio_filled(folio, FOLIO_UPTODATE);
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void look_up()
	{
		void *entry = folio_ptr_load_acquire(&slot);
		int seen = life;

		if (!entry || !folio_ref_try_get(&folio->ref))
			return;
		if (folio_ptr_load_relaxed(&slot) == entry &&
			folio_u32_load_acquire(&folio->flags) & FOLIO_UPTODATE) {
			if (PLAIN_LOAD(data) == 1)
				before_evict.reached();
			else
				after_fill.reached();
			if (seen == 1 && PLAIN_LOAD(data) == 2)
				across.reached();
			CLAIM(PLAIN_LOAD(data) == life, "pinned, good, and of another life");
		}
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void copy()
	{
		void *entry = folio_ptr_load_acquire(&slot);
		uint64_t seen, got;

		if (!entry || !version_load_begin(&folio->version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot) != entry)
			return;
		got = folio_u64_load_relaxed(&word);
		if (!version_recheck(&folio->version, seen))
			return;
		if (got == 2)
			copied.reached();
		CLAIM(got == 1 + seen / 2, "a copy of another version than the reader began with");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			evict_and_fill();
		else if (index <= pins)
			look_up();
		else
			copy();
	}
};

int main()
{
	model m("pin");

	m.full<struct pin<1, 0>>();
	m.full<struct pin<0, 1>>();
	m.bound<struct pin<2, 0>>(5);
	return m.result();
}
