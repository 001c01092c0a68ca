/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fill - a reader pins a page that is being filled and waits, or pins a valid page, or copies.
 * Does it get the complete contents, is it woken, and does a failed fill report its error to all
 * waiters?
 *
 * One thread takes a free folio, begins a generation with two references, stores the folio in the
 * slot, fills it, and ends the fill as valid or failed through the library's folio.h: version even,
 * UPTODATE. One or two readers pin (slot, get, slot again), check the flags, wait for the lock bit,
 * and read plain data. One reader copies.
 *
 * Full search with one pinning reader. With two, and with one plus a copying reader: all executions
 * with at most four preemptions.
 */
#include "model.h"

#include "futex.h"

#include "core/folio.h"
#include "core/version.h"

static scenario slept("a reader waited for the end of the fill");
static scenario good("a pinned reader waited and read the contents");
static scenario hit("a pinned reader found the page valid and read the contents");
static scenario failed("a pinned reader got the error");
static scenario copied("a copying reader read the contents");

template <int pins, int copies>
struct fill : rl::test_suite<fill<pins, copies>, 1 + pins + copies> {
	enum { CONTENTS = 7, EIO_ = 5 };

	char memory[sizeof(struct folio) + 64];
	struct folio *folio; /* aligned, as its address in the slot must be */
	folio_u64 version;
	folio_ptr slot;
	rl::var<int> data; /* for readers that pin */
	folio_u64 word;    /* for readers that copy: the same page */
	rl::var<int> error;
	int released;

	fill()
	{
		folio = reinterpret_cast<struct folio *>(
			(((uintptr_t)memory + 63) & ~(uintptr_t)63));
		::new (folio) struct folio();
	}

	~fill()
	{
		folio->~folio();
	}

	void before()
	{
		folio_ref_init_frozen(&folio->ref);
		folio_u64_store_relaxed(&version, VERSION_CHANGING);
		folio->order = 0;
		folio_u32_store_relaxed(&folio->flags, 0);
		folio_ptr_store_relaxed(&slot, NULL);
		PLAIN_STORE(data, 0);
		PLAIN_STORE(error, 0);
		folio_u64_store_relaxed(&word, 0);
		released = 0;
	}

	void put()
	{
		if (!folio_ref_put(&folio->ref))
			return;
		released++;
		version_write_begin(&version);
		PLAIN_STORE(data, -1);
		PLAIN_STORE(error, -1);
	}

	void fill_page(bool is_good)
	{
		folio_u32_store_relaxed(&folio->flags, FOLIO_LOCKED);
		version_write_begin(&version);
		folio_ref_unfreeze(&folio->ref, 2);
		folio_ptr_store_release(&slot, entry_of(folio));
		if (is_good) {
			PLAIN_STORE(data, CONTENTS);
			folio_u64_store_relaxed(&word, CONTENTS);
			version_write_end(&version, 0);
			folio_filled(folio, FOLIO_UPTODATE);
		} else {
			PLAIN_STORE(error, EIO_);
			folio_ptr_store_relaxed(&slot, NULL);
			folio_filled(folio, FOLIO_ERROR);
			put();
		}
		put();
	}

	void wait(struct folio *found)
	{
		uint32_t flags = folio_u32_load_acquire(&found->flags);

		if (!(flags & (FOLIO_UPTODATE | FOLIO_ERROR))) {
			slept.reached();
			flags = folio_wait_unlocked(found, NULL);
		} else if (flags & FOLIO_UPTODATE) {
			hit.reached();
		}
		if (flags & FOLIO_UPTODATE) {
			good.reached();
			CLAIM(PLAIN_LOAD(data) == CONTENTS,
				"pinned and up to date, but wrong contents");
		} else {
			failed.reached();
			CLAIM(flags & FOLIO_ERROR, "neither valid nor failed");
			CLAIM(PLAIN_LOAD(error) == EIO_, "failed without its error");
		}
	}

	void pin()
	{
		void *entry = folio_ptr_load_acquire(&slot);
		struct folio *found = entry_folio(entry);

		if (!entry_is_folio(entry) || !folio_ref_try_get(&found->ref))
			return;
		if (folio_ptr_load_relaxed(&slot) == entry)
			wait(found);
		put();
	}

	void copy()
	{
		void *entry = folio_ptr_load_acquire(&slot);
		uint64_t seen, got;

		if (!entry || !version_read_begin(&version, &seen))
			return;
		if (folio_ptr_load_relaxed(&slot) != entry)
			return;
		got = folio_u64_load_relaxed(&word);
		if (!version_read_valid(&version, seen))
			return;
		copied.reached();
		CLAIM(got == CONTENTS, "copied, but wrong contents");
	}

	void thread(unsigned index)
	{
		if (index == 0)
			fill_page(rl::rand(2));
		else if (index <= pins)
			pin();
		else
			copy();
	}

	void after()
	{
		bool is_good = folio_ptr_load_relaxed(&slot);

		CLAIM(released == !is_good, "released while in the tree, or not at all");
		CLAIM(folio_ref_count(&folio->ref) == is_good, "a reference is left");
	}
};

int main()
{
	model m("fill");

	m.full<struct fill<1, 0>>();
	m.bound<struct fill<2, 0>>(4);
	m.bound<struct fill<1, 1>>(4);
	return m.result();
}
