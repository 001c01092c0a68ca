/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-hint - a copying reader goes by a hint, bypassing the tree, and only the descriptor names
 * the page. Is every copy that it accepts one of the requested page?
 *
 * Between two loads of the same even version the reader checks owner, index and valid, instead of
 * the slot, and copies. One thread drops the folio's page: it clears the owner and puts, and the
 * put releases (version odd, to the pool). Another takes the folio, with the same or another order,
 * gives it another index and owner and fills it. The reader requests a page of either generation or
 * of none, by a hint that is right, wrong or old. There is one folio, but the hint also holds an
 * order, from which the reader computes where in the folio the page would be, and that order may
 * belong to either generation.
 *
 * A thread that writes a field which the reader checks has made the version odd before, as for the
 * data: version_write_begin is the first step of a fill. An odd version that another thread stored
 * before the hand-over is not enough in the language's memory model (version-handover).
 *
 * All executions with at most four preemptions; three threads.
 */
#include "model.h"
#include "core/version.h"

static scenario first("a copy of the first generation was accepted");
static scenario second("a copy of the second generation was accepted");
static scenario refused("a copy was refused");
static scenario elsewhere("the descriptor named another page");

struct version_hint : rl::test_suite<version_hint, 3> {
	/* First generation: page 4, where the file ends. Second: page 5 alone, or pages 4 to 7. */
	enum { FIRST = 4, ORDER = 2 };

	uint64_t second_index, second_valid;

	struct folio_ref ref;
	folio_u64 version;
	folio_ptr owner;
	folio_u64 index;
	folio_u64 valid; /* pages here */
	folio_u64 word;  /* the generation that wrote the data */
	folio_u32 gone;  /* set by the dropper when the page is gone */
	struct handover pool;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		folio_ptr_store_relaxed(&owner, &pool);
		folio_u64_store_relaxed(&index, FIRST);
		folio_u64_store_relaxed(&valid, 1);
		folio_u64_store_relaxed(&word, 1);
		folio_u32_store_relaxed(&gone, 0);
		pool.init(NULL);
		folio_ref_unfreeze(&ref, 1);
	}

	void drop()
	{
		folio_ptr_store_relaxed(&owner, NULL);
		folio_u32_store_release(&gone, 1);
		if (!folio_ref_put(&ref))
			return;
		version_write_begin(&version);
		pool.give(&ref);
	}

	void fill()
	{
		bool large = rl::rand(2);

		if (!pool.take())
			return;
		second_index = large ? FIRST : FIRST + 1;
		second_valid = large ? 1 << ORDER : 1;
		version_write_begin(&version);
		folio_u64_store_relaxed(&index, second_index);
		folio_ptr_store_relaxed(&owner, &pool);
		folio_u64_store_relaxed(&word, 2);
		folio_u64_store_relaxed(&valid, second_valid);
		version_write_end(&version);
	}

	void copy(uint64_t page)
	{
		bool too_late = folio_u32_load_acquire(&gone);
		uint64_t in_folio = page & ((UINT64_C(1) << rl::rand(2) * ORDER) - 1);
		uint64_t seen, data;

		if (!version_read_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&owner) != &pool)
			return;
		if (folio_u64_load_relaxed(&index) + in_folio != page ||
			in_folio >= folio_u64_load_relaxed(&valid)) {
			elsewhere.reached();
			return;
		}
		data = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&version, seen)) {
			refused.reached();
			return;
		}
		CLAIM(data == (seen ? 2 : 1),
			"a copy of another version than the reader began with");
		CLAIM(in_folio == page - (seen ? second_index : (uint64_t)FIRST),
			"a copy of another page");
		CLAIM(seen || !too_late, "a copy of a page that was gone before the reader began");
		CLAIM(in_folio < (seen ? second_valid : 1), "a copy of more than the folio had");
		if (data == 1)
			first.reached();
		else
			second.reached();
	}

	void thread(unsigned thread)
	{
		if (thread == 0)
			drop();
		else if (thread == 1)
			fill();
		else
			copy(FIRST + rl::rand(3));
	}
};

int main()
{
	model m("version-hint");

	m.bound<struct version_hint>(4);
	return m.result();
}
