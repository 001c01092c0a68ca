/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin - a folio is evicted and filled with the same page again, so the slot holds the same word as
 * before. Are the contents that a pinned reader takes for valid those of the generation that it
 * pinned?
 *
 * One thread evicts the folio from its slot (freeze, version, erase) and fills the page again in
 * the same folio. Readers pin: slot, get, slot again, flags; if the flags say UPTODATE they read
 * plain data. The first load of the slot may belong to the first generation and the get to the
 * second. The flags are then those of the second, since LOCKED is stored before the count is
 * unfrozen.
 *
 * A copying reader likewise: the version that it begins with may be even while its load of the
 * slot belongs to the first generation.
 *
 * Full search with one reader of either kind. With two pinning readers: all executions with at most
 * five preemptions.
 */
#include "model.h"

#include "futex.h"

#include "core/folio.h"
#include "core/version.h"

static scenario before_evict("a reader read the first generation");
static scenario after_fill("a reader read the second generation");
static scenario across("a reader saw the slot in one generation and pinned the next");
static scenario refused("a pin prevented eviction");
static scenario copied("a copy of the second generation was accepted");

template <int pins, int copies> struct pin : rl::test_suite<pin<pins, copies>, 1 + pins + copies> {
	char memory[sizeof(struct folio) + 64 + FOLIO_SKEW];
	struct folio *folio;
	folio_ptr slot;
	rl::var<int> data; /* the number of the generation, for readers that pin */
	folio_u64 word;    /* the same, for readers that copy */
	int generation;

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
		generation = 1;
		folio_ptr_store_relaxed(&slot, entry_of(folio));
		folio_ref_unfreeze(&folio->ref, 1);
	}

	void evict_and_fill()
	{
		if (!folio_ref_try_freeze(&folio->ref, 1)) {
			refused.reached();
			return;
		}
		version_write_begin(&folio->version);
		folio_ptr_store_relaxed(&slot, NULL);
		generation = 2;
		folio_u32_store_relaxed(&folio->flags, FOLIO_LOCKED);
		folio_ref_unfreeze(&folio->ref, 2);
		folio_ptr_store_release(&slot, entry_of(folio));
		PLAIN_STORE(data, 2);
		folio_u64_store_relaxed(&word, 2);
		version_write_end(&folio->version);
		folio_filled(folio, FOLIO_UPTODATE);
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void look_up()
	{
		void *entry = folio_ptr_load_acquire(&slot);
		int seen = generation;

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
			CLAIM(PLAIN_LOAD(data) == generation,
				"pinned, up to date, but of another generation");
		}
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void copy()
	{
		void *entry = folio_ptr_load_acquire(&slot);
		uint64_t seen, got;

		if (!entry || !version_read_begin(&folio->version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot) != entry)
			return;
		got = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&folio->version, seen))
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
