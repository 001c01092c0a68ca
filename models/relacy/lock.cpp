/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock - threads wait for the lock of a folio that is being written back, or that another one has
 * locked. Is each woken, and does it see what was stored under the lock before?
 *
 * The wait, the lock and the two ends are those of src/core/folio.h. Two threads lock the folio and
 * change its contents; write-back, which is in flight at first, reads them. One thread may leave at
 * its deadline, also after it was woken.
 *
 * Full search with one locking thread. With two, and with one that has a deadline: all executions
 * with a bounded number of preemptions.
 */
#include "model.h"

#include "futex.h"

#include "core/folio.h"

static scenario slept("a thread waited for the lock");
static scenario second("a thread locked the folio after another one");
static scenario left("a thread left at its deadline");

template <int threads, bool deadline>
struct locked : rl::test_suite<locked<threads, deadline>, threads + 1> {
	struct folio folio;
	rl::var<int> contents;

	void before()
	{
		clock_begin();
		folio_u32_store_relaxed(&folio.flags, FOLIO_UPTODATE | FOLIO_WRITEBACK);
		PLAIN_STORE(contents, 0);
	}

	void change(const struct timespec *until)
	{
		if (folio_u32_load_relaxed(&folio.flags) & FOLIO_WAITERS)
			slept.reached();
		if (!folio_lock_wait(&folio, until)) {
			CLAIM(until, "left without a deadline");
			left.reached();
			return;
		}
		if (PLAIN_LOAD(contents))
			second.reached();
		PLAIN_STORE(contents, PLAIN_LOAD(contents) + 1);
		folio_unlocked(&folio);
	}

	void thread(unsigned index)
	{
		struct timespec until = deadline_in(1000);

		if (index) {
			change(deadline && index == 1 ? &until : NULL);
			return;
		}
		CLAIM(!PLAIN_LOAD(contents), "changed while it is written");
		folio_flags_change(&folio, FOLIO_WRITEBACK, 0);
	}
};

int main()
{
	model m("lock");

	m.full<struct locked<1, false>>();
	m.bound<struct locked<2, false>>(4);
	m.bound<struct locked<2, true>>(3);
	return m.result();
}
