/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * version-hint - is what a copying reader accepts the page that he asked for, when he goes by a hint, past the tree, and
 * the descriptor alone says which page it has?
 *
 * Between two looks at the same even version the reader looks at owner, index and valid, in the place of the slot, and
 * copies. One thread drops the folio's page (owner away, put; the put releases: version odd, to the pool); another takes
 * it, with the same order or another, gives it another index and owner and fills it. The reader asks for a page
 * of either life or of none, by a hint that is right, wrong or old: there is one folio, but the order that the hint says,
 * by which the reader knows where in the folio the page would be, may be that of either life.
 *
 * Whoever writes a field that the reader looks at has broken the version before, as for the data: version_break is what
 * fill does first. An odd version that another thread stored before the hand-over is not enough in the
 * language's model (version-handover).
 *
 * All executions with at most four preemptions; three threads.
 */
#include "model.h"
#include "version.h"

static scenario first("a copy of the first life was accepted");
static scenario second("a copy of the second life was accepted");
static scenario refused("a copy was refused");
static scenario elsewhere("the descriptor said another page");

struct version_hint : rl::test_suite<version_hint, 3> {
	/* First life: page 4, where the file ends. Second: page 5 alone, or pages 4 to 7. */
	enum { FIRST = 4, ORDER = 2 };

	uint64_t second_index, second_valid;

	struct folio_ref ref;
	folio_u64 version;
	folio_ptr owner;
	folio_u64 index;
	folio_u64 valid; /* pages here */
	folio_u64 word;  /* which life wrote the data */
	folio_u32 gone;  /* the dropper tells that the page is gone */
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
		version_break(&version);
		pool.give(&ref);
	}

	void fill()
	{
		bool large = rl::rand(2);

		if (!pool.take())
			return;
		second_index = large ? FIRST : FIRST + 1;
		second_valid = large ? 1 << ORDER : 1;
		version_break(&version);
		folio_u64_store_relaxed(&index, second_index);
		folio_ptr_store_relaxed(&owner, &pool);
		folio_u64_store_relaxed(&word, 2);
		folio_u64_store_relaxed(&valid, second_valid);
		version_settle(&version);
	}

	void copy(uint64_t page)
	{
		bool too_late = folio_u32_load_acquire(&gone);
		uint64_t in_folio = page & ((UINT64_C(1) << rl::rand(2) * ORDER) - 1);
		uint64_t seen, data;

		if (!version_load_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&owner) != &pool)
			return;
		if (folio_u64_load_relaxed(&index) + in_folio != page ||
			in_folio >= folio_u64_load_relaxed(&valid)) {
			elsewhere.reached();
			return;
		}
		data = folio_u64_load_relaxed(&word);
		if (!version_recheck(&version, seen)) {
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
