/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin - a folio is evicted and filled with the same page again, so the slot holds the same word as
 * before, or with another page. Are the contents that a pinned reader takes for valid those of the
 * generation that it pinned, and of the page that it requested?
 *
 * One thread evicts the folio from slot A (freeze, version, erase) and fills it again, for slot A
 * or for slot B. Readers of A pin: slot, get, slot again, flags; if the flags say UPTODATE they
 * read plain data. The first load of the slot may belong to the first generation and the get to
 * the second. The flags are then those of the second, since LOCKED is stored before the count is
 * unfrozen.
 *
 * A pinned hit asks the version instead of the flags: slot, get, slot again, version even? The
 * second generation has the flag PARTIAL and the number of its valid bytes; a hit that meets the
 * flag loads that number.
 *
 * A copying reader likewise: the version that it begins with may be even while its load of the
 * slot belongs to the first generation.
 *
 * Full search with one reader of each kind. With two pinning readers, and with one of them and one
 * hit: all executions with at most five preemptions.
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
static scenario hit_before("a hit pinned the first generation");
static scenario hit_after("a hit pinned the second generation");
static scenario hit_across("a hit saw the slot in one generation and pinned the next");
static scenario undone("a hit was undone: the folio has another page, or is being filled");

template <int pins, int hits, int copies>
struct pin : rl::test_suite<pin<pins, hits, copies>, 1 + pins + hits + copies> {
	enum { A, B };

	char memory[sizeof(struct folio) + 64];
	struct folio *folio;
	folio_u64 version;
	folio_ptr slot[2];
	rl::var<int> data; /* the number of the generation, for readers that pin */
	folio_u64 word;    /* the same, for readers that copy */
	int generation;
	unsigned where; /* the slot of the second generation */

	pin()
	{
		folio = reinterpret_cast<struct folio *>(
			(((uintptr_t)memory + 63) & ~(uintptr_t)63));
		::new (folio) struct folio();
	}

	~pin()
	{
		folio->~folio();
	}

	void before()
	{
		folio_ref_init_frozen(&folio->ref);
		folio_u64_store_relaxed(&version, 0);
		folio_u32_store_relaxed(&folio->flags, FOLIO_UPTODATE);
		folio->order = 0;
		PLAIN_STORE(data, 1);
		folio_u64_store_relaxed(&word, 1);
		folio_u32_store_relaxed(&folio->valid, 1);
		generation = 1;
		folio_ptr_store_relaxed(&slot[A], entry_of(folio));
		folio_ptr_store_relaxed(&slot[B], NULL);
		folio_ref_unfreeze(&folio->ref, 1);
	}

	void evict_and_fill()
	{
		if (!folio_ref_try_freeze(&folio->ref, 1)) {
			refused.reached();
			return;
		}
		version_write_begin(&version);
		folio_ptr_store_relaxed(&slot[A], NULL);
		generation = 2;
		where = rl::rand(2) ? B : A;
		folio_u32_store_relaxed(&folio->flags, FOLIO_LOCKED);
		folio_ref_unfreeze(&folio->ref, 2);
		folio_ptr_store_release(&slot[where], entry_of(folio));
		PLAIN_STORE(data, 2);
		folio_u64_store_relaxed(&word, 2);
		folio_u32_store_relaxed(&folio->valid, 2);
		version_write_end(&version, VERSION_PARTIAL);
		folio_filled(folio, FOLIO_UPTODATE);
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void look_up()
	{
		void *entry = folio_ptr_load_acquire(&slot[A]);
		int seen = generation;

		if (!entry || !folio_ref_try_get(&folio->ref))
			return;
		if (folio_ptr_load_relaxed(&slot[A]) == entry &&
			folio_u32_load_acquire(&folio->flags) & FOLIO_UPTODATE) {
			if (PLAIN_LOAD(data) == 1)
				before_evict.reached();
			else
				after_fill.reached();
			if (seen == 1 && PLAIN_LOAD(data) == 2)
				across.reached();
			CLAIM(PLAIN_LOAD(data) == generation,
				"pinned, up to date, but of another generation");
			CLAIM(generation == 1 || where == A, "pinned another page");
		}
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void check_hit(uint64_t begun, int seen)
	{
		if (generation == 1)
			hit_before.reached();
		else
			hit_after.reached();
		if (seen == 1 && generation == 2)
			hit_across.reached();
		CLAIM(PLAIN_LOAD(data) == generation, "a hit pinned another generation");
		CLAIM(generation == 1 || where == A, "a hit pinned another page");
		CLAIM(begun / VERSION_STEP + 1 == (uint64_t)generation,
			"a hit began with another version");
		if (begun & VERSION_PARTIAL)
			CLAIM(folio_u32_load_relaxed(&folio->valid) == 2,
				"a hit found the valid bytes of another generation");
	}

	void hit()
	{
		void *entry = folio_ptr_load_acquire(&slot[A]);
		int seen = generation;
		uint64_t begun;

		if (!entry || !folio_ref_try_get(&folio->ref))
			return;
		if (folio_ptr_load_relaxed(&slot[A]) == entry &&
			version_read_begin(&version, &begun))
			check_hit(begun, seen);
		else
			undone.reached();
		CLAIM(!folio_ref_put(&folio->ref), "released while in the tree");
	}

	void copy()
	{
		void *entry = folio_ptr_load_acquire(&slot[A]);
		uint64_t seen, got;

		if (!entry || !version_read_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot[A]) != entry)
			return;
		got = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&version, seen))
			return;
		if (got == 2)
			copied.reached();
		CLAIM(got == 1 + seen / VERSION_STEP,
			"a copy of another version than the reader began with");
		CLAIM(got == 1 || where == A, "a copy of another page");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			evict_and_fill();
		else if (index <= pins)
			look_up();
		else if (index <= pins + hits)
			hit();
		else
			copy();
	}
};

int main()
{
	model m("pin");

	m.full<struct pin<1, 0, 0>>();
	m.full<struct pin<0, 1, 0>>();
	m.full<struct pin<0, 0, 1>>();
	m.bound<struct pin<2, 0, 0>>(5);
	m.bound<struct pin<1, 1, 0>>(5);
	return m.result();
}
