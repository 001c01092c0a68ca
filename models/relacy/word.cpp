/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * word - readers copy and pin a page between two loads of its word, which holds version and frame.
 * Is every copy complete, of the requested page, and no older than an invalidation or a write that
 * had finished? Is a pinned folio that of the page?
 *
 *   word_write    a writer writes twice in place, under the folio's lock, while another thread
 *                 drops the page or holds its word for a moment; a reader copies
 *   word_refill   the page is evicted, or dropped, and the frame is filled for another page or the
 *                 same one; a reader copies, or pins by count, and reads plain data then
 *
 * All executions with a bounded number of preemptions; three threads.
 */
#include "word.h"

static scenario accepted("a copy was accepted");
static scenario late("a copy of what a writer wrote was accepted");
static scenario refused("a copy was refused");
static scenario busy("a reader met a word that was not present");
static scenario overtaken("a writer found its page dropped");
static scenario held("a writer met a held word");
static scenario copied("a copy of the second use was accepted");
static scenario pinned("the second use was pinned");
static scenario undone("a get was undone");
static scenario frozen("a get found the folio frozen");

template <bool drops> struct word_write : rl::test_suite<word_write<drops>, 3> {
	enum { FRAME = 3 };

	folio_u64 version;
	folio_u64 word;
	folio_u64 data[2]; /* the number of the write */
	folio_u64 finished;
	struct lock tree_lock;
	rl::var<bool> in_tree; /* guarded by tree_lock */

	void before()
	{
		folio_u64_store_relaxed(&version, VERSION_STEP);
		folio_u64_store_relaxed(&word, word_make(VERSION_STEP, FRAME, WORD_PRESENT));
		folio_u64_store_relaxed(&data[0], 0);
		folio_u64_store_relaxed(&data[1], 0);
		folio_u64_store_relaxed(&finished, 0);
		PLAIN_STORE(in_tree, true);
	}

	/* With the folio's lock, which no other thread requests. */
	void write(uint64_t number)
	{
		bool valid;

		if (!(word.debug_value() & WORD_PRESENT))
			held.reached();
		word_break(&word, &version, FRAME, &tree_lock);
		folio_u64_store_relaxed(&data[0], number);
		folio_u64_store_relaxed(&data[1], number);
		if (!word_settle(&word, &version, FRAME))
			overtaken.reached();
		tree_lock.acquire();
		valid = PLAIN_LOAD(in_tree);
		tree_lock.release();
		if (valid)
			folio_u64_store_release(&finished, number);
	}

	void hold()
	{
		uint64_t had;

		if (word_hold(&word, &had))
			word_unhold(&word, had);
	}

	void drop()
	{
		tree_lock.acquire();
		word_erase_locked(&word);
		PLAIN_STORE(in_tree, false);
		tree_lock.release();
	}

	void copy()
	{
		uint64_t floor = folio_u64_load_acquire(&finished), seen, got[2];
		unsigned first = rl::rand(2);

		if (!word_read_begin(&word, &seen)) {
			busy.reached();
			return;
		}
		got[first] = folio_u64_load_relaxed(&data[first]);
		got[!first] = folio_u64_load_relaxed(&data[!first]);
		if (!word_read_valid(&word, seen)) {
			refused.reached();
			return;
		}
		accepted.reached();
		if (got[0])
			late.reached();
		CLAIM(got[0] == got[1], "a torn copy");
		CLAIM(got[0] == (seen >> 32) / VERSION_STEP - 1,
			"a copy of another version than the reader began with");
		CLAIM(got[0] >= floor, "a copy older than a finished write");
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			write(1);
			write(2);
		} else if (index == 1 && drops) {
			drop();
		} else if (index == 1) {
			hold();
		} else {
			copy();
		}
	}

	void after()
	{
		CLAIM(folio_u64_load_relaxed(&word) ==
				(drops ? 0 : word_make(3 * VERSION_STEP, FRAME, WORD_PRESENT)),
			"the word is lost, or came back");
	}
};

template <bool pins> struct word_refill : rl::test_suite<word_refill<pins>, 3> {
	enum { FRAME = 3 };

	struct folio_ref ref;
	folio_u64 version;
	folio_u64 word[2];
	folio_u64 data[2];  /* for copies: the use that wrote it */
	rl::var<int> plain; /* for pins: the same */
	folio_u32 gone;     /* set when the page of the first use is gone */
	unsigned page_of_second;
	struct lock tree_lock;
	struct handover pool;

	void before()
	{
		folio_ref_init_frozen(&ref);
		folio_u64_store_relaxed(&version, VERSION_STEP);
		folio_u64_store_relaxed(&word[0], word_make(VERSION_STEP, FRAME, WORD_PRESENT));
		folio_u64_store_relaxed(&word[1], 0);
		folio_u64_store_relaxed(&data[0], 1);
		folio_u64_store_relaxed(&data[1], 1);
		PLAIN_STORE(plain, 1);
		folio_u32_store_relaxed(&gone, 0);
		pool.init(NULL);
		folio_ref_unfreeze(&ref, 1);
	}

	void put()
	{
		if (!folio_ref_put(&ref))
			return;
		version_write_begin(&version);
		pool.give(&ref);
	}

	void evict()
	{
		bool won;

		folio_ref_get(&ref); /* isolated in the queue's lock */
		tree_lock.acquire();
		won = folio_ref_try_freeze(&ref, 2);
		if (won) {
			version_write_begin(&version);
			word_erase_locked(&word[0]);
		}
		tree_lock.release();
		if (won) {
			folio_u32_store_release(&gone, 1);
			pool.give(&ref);
		} else {
			put();
		}
	}

	void drop()
	{
		tree_lock.acquire();
		word_erase_locked(&word[0]);
		tree_lock.release();
		folio_u32_store_release(&gone, 1);
		put();
	}

	void fill()
	{
		if (!pool.take())
			return;
		page_of_second = rl::rand(2);
		version_write_begin(&version);
		folio_ref_unfreeze(&ref, 2);
		tree_lock.acquire();
		word_insert_locked(&word[page_of_second], &version, FRAME);
		tree_lock.release();
		if (pins) {
			PLAIN_STORE(plain, 2);
		} else {
			folio_u64_store_relaxed(&data[0], 2);
			folio_u64_store_relaxed(&data[1], 2);
		}
		CLAIM(word_settle(&word[page_of_second], &version, FRAME), "not published");
		put();
	}

	void check(unsigned page, bool too_late, int use)
	{
		CLAIM(use == 1 || use == 2, "the contents of no use");
		CLAIM(page == (use == 1 ? 0 : page_of_second), "another page than requested");
		CLAIM(use == 2 || !too_late, "a page that was gone before the reader began");
	}

	void copy(unsigned page)
	{
		bool too_late = folio_u32_load_acquire(&gone);
		uint64_t seen, got[2];

		if (!word_read_begin(&word[page], &seen))
			return;
		got[0] = folio_u64_load_relaxed(&data[0]);
		got[1] = folio_u64_load_relaxed(&data[1]);
		if (!word_read_valid(&word[page], seen))
			return;
		CLAIM(got[0] == got[1], "a torn copy");
		CLAIM(got[0] == (seen >> 32) / VERSION_STEP, "a copy of another use");
		check(page, too_late, (int)got[0]);
		if (got[0] == 2)
			copied.reached();
	}

	void pin(unsigned page)
	{
		bool too_late = folio_u32_load_acquire(&gone);
		uint64_t seen;
		int use;

		if (!word_read_begin(&word[page], &seen))
			return;
		if (!folio_ref_try_get(&ref)) {
			frozen.reached();
			return;
		}
		if (word_pin_check(&word[page], seen)) {
			use = PLAIN_LOAD(plain);
			check(page, too_late, use);
			if (use == 2)
				pinned.reached();
		} else {
			undone.reached();
		}
		put();
	}

	void thread(unsigned index)
	{
		unsigned page;

		if (index == 0) {
			if (rl::rand(2))
				evict();
			else
				drop();
		} else if (index == 1) {
			fill();
		} else {
			page = rl::rand(2);
			if (pins)
				pin(page);
			else
				copy(page);
		}
	}
};

int main()
{
	model m("word");

	m.bound<struct word_write<false>>(3);
	m.bound<struct word_write<true>>(3);
	m.bound<struct word_refill<false>>(4);
	m.bound<struct word_refill<true>>(4);
	return m.result();
}
