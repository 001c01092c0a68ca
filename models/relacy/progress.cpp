/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress - a caller finds every page held by threads that will soon release it. Can it report
 * that there is no memory, or sleep for ever? And can threads that hold a pinned page for a moment,
 * or writers of pinned pages that are always busy, keep it waiting?
 *
 * This is src/core/progress.c itself. A caller tries to freeze the one page. If the page is held,
 * the caller waits for progress, and tries again. Readers find the page while the caller wants it;
 * a fill ends, and its thread copies from the page; the program has the page pinned; fills of two
 * pages end while the caller's patience with them is over; one activity begins before another one
 * ends, until the caller has given up.
 *
 * The fence on the holder's side: the caller saw the reference by a relaxed load of the counter.
 * That fence, together with the caller's, ensures that it also sees the increment of holders that
 * preceded the reference. The caller's fence is seq_cst for another reason: one thread stores "I
 * wait", the other checks for waiters, and one of the two must see the other.
 *
 * Full search with one holder. All executions with a bounded number of preemptions with the others.
 */
#include "model.h"

#include "futex.h"

#define _Alignas(bytes)

#include "core/progress.c"

static scenario waited("the caller saw a release and got the page");
static scenario left("a holder left the page to another one");
static scenario refused("the caller found the page pinned");
static scenario impatient("the caller's patience was over while a fill had not ended");
static scenario gave_up("the caller gave up while a writer was busy");
static scenario late("the caller left at its deadline");

void folio_release(struct folio *)
{
	CLAIM(false, "released while in the tree");
}

static void set(folio_u32 *word)
{
	folio_u32_store_relaxed(word, 1);
	futex_wake(word, 1);
}

static void await(folio_u32 *word)
{
	while (!folio_u32_load_relaxed(word))
		futex_wait(word, 0);
}

struct page {
	static struct page *subject;
	struct folio folio;
	struct progress progress;
	folio_u32 checked;

	/* @patience_ms: UINT32_MAX: it never ends. */
	void setup(uint32_t references, uint32_t busy, uint32_t patience_ms)
	{
		clock_begin();
		folio_ref_init_frozen(&folio.ref);
		folio.type = FOLIO_TYPE_FILE;
		folio_ptr_store_relaxed(&folio.owner, this);
		folio_ref_unfreeze(&folio.ref, references);
		progress_init(&progress);
		folio_u32_store_relaxed(&progress.busy, busy);
		progress.patience_ms = patience_ms;
		folio_u32_store_relaxed(&checked, 0);
		subject = this;
	}

	/* Until the caller has checked what is busy, and has begun to wait. */
	void await_check()
	{
		await(&checked);
	}

	bool put()
	{
		bool freed = progress_put(&folio);

		if (!freed)
			left.reached();
		return freed;
	}

	void hold()
	{
		bool freed = false;

		progress_hold(&progress);
		if (folio_ref_try_get(&folio.ref))
			freed = put();
		progress_unhold(&progress, freed);
	}

	/* The end of a fill, whose reference was the last one but the tree's. */
	void fill_ends()
	{
		progress_end(&progress, put());
	}

	void allocate()
	{
		bool again = false;

		for (;;) {
			uint32_t seen = progress_seen(&progress);

			if (folio_ref_try_freeze(&folio.ref, 1))
				break;
			CLAIM(!progress_wait(&progress, seen, NULL),
				"no memory although a page was about to be released");
			again = true;
		}
		if (again)
			waited.reached();
	}

	/* The page is pinned: @result is what the caller gets. */
	void is_refused(const struct timespec *until, int result)
	{
		uint32_t seen = progress_seen(&progress);

		CLAIM(!folio_ref_try_freeze(&folio.ref, 1), "took a pinned page");
		CLAIM(progress_wait(&progress, seen, until) == result,
			"a page that stays pinned counts as released");
	}
};

struct page *page::subject;

/* The caller begins to wait. Its patience with what it waits for next never ends. */
static void caller_has_checked()
{
	clock_hook = NULL;
	page::subject->progress.patience_ms = UINT32_MAX;
	set(&page::subject->checked);
}

/* Readers that find the page while the caller wants it. */
template <int holders>
struct progress_readers : rl::test_suite<progress_readers<holders>, holders + 1> {
	struct page page;

	void before()
	{
		page.setup(1, 0, UINT32_MAX);
	}

	void thread(unsigned index)
	{
		if (index == 0)
			page.allocate();
		else
			page.hold();
	}
};

/* A fill that ends, and its thread, which copies from the page. */
struct progress_fill : rl::test_suite<progress_fill, 2> {
	struct page page;

	void before()
	{
		page.setup(2, 1, UINT32_MAX);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			page.allocate();
			return;
		}
		progress_hold(&page.progress);
		progress_end(&page.progress, false);
		progress_unhold(&page.progress, page.put());
	}
};

/* The same after the caller has begun to wait for the fill; its patience with it may end. */
struct progress_moved : rl::test_suite<progress_moved, 2> {
	struct page page;

	void before()
	{
		page.setup(2, 1, 1);
		clock_hook = caller_has_checked;
	}

	void thread(unsigned index)
	{
		struct progress *progress = &page.progress;

		if (index == 0) {
			page.allocate();
			return;
		}
		page.await_check();
		progress_hold(progress);
		progress_end(progress, false);
		progress_unhold(progress, page.put());
	}
};

/* The program has the page pinned; another thread reads it. */
struct progress_pinned : rl::test_suite<progress_pinned, 2> {
	struct page page;

	void before()
	{
		page.setup(2, 0, UINT32_MAX);
	}

	void thread(unsigned index)
	{
		if (index == 1) {
			page.hold();
			return;
		}
		page.is_refused(NULL, -ENOMEM);
		refused.reached();
	}
};

/* Fills of another page and of this one, which take longer than the caller's patience. */
struct progress_slow : rl::test_suite<progress_slow, 2> {
	struct page page;

	void before()
	{
		page.setup(2, 2, 1);
	}

	void thread(unsigned index)
	{
		if (index == 1) {
			progress_end(&page.progress, false);
			page.fill_ends();
			return;
		}
		page.allocate();
		if (model_clock.tv_nsec)
			impatient.reached();
	}
};

/* An activity begins before another one ends, until the caller has given up. */
struct progress_writers : rl::test_suite<progress_writers, 2> {
	struct page page;
	folio_u32 gave_up_word;

	void before()
	{
		page.setup(2, 1, 1);
		clock_hook = caller_has_checked;
		folio_u32_store_relaxed(&gave_up_word, 0);
	}

	void another()
	{
		progress_begin(&page.progress);
		progress_end(&page.progress, false);
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			page.is_refused(NULL, -ENOMEM);
			gave_up.reached();
			set(&gave_up_word);
			return;
		}
		another();
		page.await_check();
		/* By then, at most two were busy. */
		another();
		another();
		await(&gave_up_word);
		progress_end(&page.progress, false);
	}
};

/* An activity does not end; the caller has a deadline. */
struct progress_deadline : rl::test_suite<progress_deadline, 2> {
	struct page page;

	void before()
	{
		page.setup(2, 1, 1);
	}

	void thread(unsigned index)
	{
		struct timespec until = deadline_in(1000);

		if (index == 1) {
			page.hold();
			return;
		}
		page.is_refused(&until, -ETIMEDOUT);
		late.reached();
	}
};

int main()
{
	model m("progress");

	m.bound<struct progress_readers<1>>(8);
	m.bound<struct progress_fill>(4);
	m.bound<struct progress_moved>(4);
	m.bound<struct progress_pinned>(4);
	m.bound<struct progress_readers<2>>(3);
	m.bound<struct progress_slow>(4);
	m.bound<struct progress_writers>(2);
	m.bound<struct progress_deadline>(4);
	return m.result();
}
