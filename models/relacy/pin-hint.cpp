/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin-hint - a reader pins a page through a hint, bypassing the tree. Is it the requested page,
 * with its contents, until the reader puts it?
 *
 * The reader gets a reference to the only folio, then checks version, owner, index and valid, and
 * reads the data, which are plain. One thread drops the folio's page (clears the owner, puts).
 * Another takes the folio from the pool once any thread has released it, and fills it for another
 * page, or for the same page again. A reader whose put is the last one releases.
 *
 * With one reader: all executions. With two: all with at most two preemptions.
 */
#include "model.h"
#include "core/version.h"

static scenario first("a page of the first generation was pinned");
static scenario second("a page of the second generation was pinned");
static scenario undone("a get was undone: the folio has another page, or none");
static scenario refused("a get found the folio frozen");
static scenario released("a reader released");

template <int readers> struct pin_hint : rl::test_suite<pin_hint<readers>, 2 + readers> {
	enum { OLD = 5, NEW = 4, NEW_PAGES = 4 };

	struct folio_ref ref;
	folio_u64 version;
	folio_ptr owner;
	folio_u64 index;
	folio_u64 valid;   /* pages here */
	rl::var<int> data; /* the generation that wrote it */
	folio_u32 gone;    /* set by the dropper when the page is gone */
	struct handover pool;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, 0);
		folio_ptr_store_relaxed(&owner, &pool);
		folio_u64_store_relaxed(&index, OLD);
		folio_u64_store_relaxed(&valid, 1);
		PLAIN_STORE(data, 1);
		folio_u32_store_relaxed(&gone, 0);
		pool.init(NULL);
		folio_ref_unfreeze(&ref, 1);
	}

	bool put()
	{
		if (!folio_ref_put(&ref))
			return false;
		version_write_begin(&version);
		pool.give(&ref);
		return true;
	}

	void drop()
	{
		folio_ptr_store_relaxed(&owner, NULL);
		folio_u32_store_release(&gone, 1);
		put();
	}

	void fill()
	{
		bool same = rl::rand(2);

		if (!pool.take())
			return;
		version_write_begin(&version);
		folio_u64_store_relaxed(&index, same ? OLD : NEW);
		folio_u64_store_relaxed(&valid, 0);
		folio_ptr_store_relaxed(&owner, &pool);
		folio_ref_unfreeze(&ref, 2);
		PLAIN_STORE(data, 2);
		version_write_begin(&version);
		folio_u64_store_relaxed(&valid, same ? 1 : NEW_PAGES);
		version_write_end(&version);
		CLAIM(!put(), "released while in the tree");
	}

	void pin(uint64_t page)
	{
		uint64_t in_folio = page & (rl::rand(2) ? NEW_PAGES - 1 : 0);
		bool too_late = folio_u32_load_acquire(&gone);
		uint64_t seen, at;
		int generation;

		if (!folio_ref_try_get(&ref)) {
			refused.reached();
			return;
		}
		if (version_read_begin(&version, &seen) &&
			folio_ptr_load_relaxed(&owner) == &pool &&
			folio_u64_load_relaxed(&index) + in_folio == page &&
			in_folio < folio_u64_load_relaxed(&valid)) {
			generation = PLAIN_LOAD(data);
			at = folio_u64_load_relaxed(&index);
			if (generation == 1) {
				first.reached();
				CLAIM(!too_late,
					"pinned a page that was gone before the reader began");
				CLAIM(page == OLD && in_folio == 0,
					"pinned another page than requested");
			} else {
				second.reached();
				CLAIM(page == at + in_folio, "pinned another page than requested");
			}
			CLAIM(generation == (seen ? 2 : 1),
				"pinned the contents of another generation");
		} else {
			undone.reached();
		}
		if (put())
			released.reached();
	}

	void thread(unsigned thread)
	{
		if (thread == 0)
			drop();
		else if (thread == 1)
			fill();
		else
			pin(NEW + rl::rand(2));
	}
};

int main()
{
	model m("pin-hint");

	m.full<struct pin_hint<1>>();
	m.bound<struct pin_hint<2>>(2);
	return m.result();
}
