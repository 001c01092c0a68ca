/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * futex.h - for the models, in place of src/futex.h: waits are the scheduler's. A thread that nobody wakes is a
 * deadlock that Relacy reports. The system wakes for no reason now and then; that only makes the
 * caller look again, and is left out so that searches end.
 */
#ifndef FOLIO_SRC_FUTEX_H
#define FOLIO_SRC_FUTEX_H

#include <limits.h>
#include <time.h>

#include "model.h"

static inline void futex_wait(folio_u32 *word, uint32_t seen)
{
	rl::context &context = rl::ctx();

	context.sched();
	if (word->debug_value() == seen) {
		/* No switch between the look and the wait: the system holds a lock over the two. */
		word->wait(context, false, false, RL_INFO);
	} else {
		/*
		 * The system looked at the newest value, on this thread; so what the thread loads
		 * next is no older. A compare-and-swap that fails says that to Relacy.
		 */
		rl::preemption_disabler no_switch(context);

		folio_u32_cas_relaxed(word, &seen, seen);
	}
}

/* Time is not modelled: nobody's is up. */
static inline bool futex_wait_until(folio_u32 *word, uint32_t seen, const struct timespec *)
{
	futex_wait(word, seen);
	return true;
}

static inline void futex_wake(folio_u32 *word, int count)
{
	rl::ctx().sched();
	word->wake(rl::ctx(), count, RL_INFO);
}

#endif
