/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * junk.pml - getters hammer a frozen word for ever, N at a time, while it is unfrozen and frozen
 * again. Does the junk that they add ever carry out of the word, or does the reset that prevents
 * this ever hit a new generation?
 *
 * The word is BITS wide. A getter never stops; of those that succeed, the last to put releases. The
 * owner repeatedly takes the object out of the pool and puts it. Nothing terminates here, so there
 * is no final state to check.
 *
 * The header's bound, scaled: GETTERS * N may be 2^(BITS - 2), the quarter of the range above the
 * limit.
 * run full: spin -DBITS=4 -DGETTERS=3 -DN=1; cc -DSAFETY -DBFS; pan -w22; expect clean
 * deep exact: spin -DBITS=4 -DGETTERS=4 -DN=1; cc -DSAFETY -DBFS; pan -w24; expect clean
 * run bias: spin -DBITS=4 -DGETTERS=2 -DN=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m1000000 -w22; expect clean
 * run wide: spin -DBITS=5 -DGETTERS=3 -DN=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m1000000 -w24; expect clean
 * run quick: spin -DBITS=4 -DGETTERS=2 -DN=2; cc -DSAFETY; pan -m1000000 -w20; expect clean
 * run few: spin -DBITS=3 -DGETTERS=2 -DN=1; cc -DSAFETY; pan -m1000000 -w20; expect clean
 *
 * With one getter more it carries: the bound is exact.
 * run tight: spin -DBITS=4 -DGETTERS=5 -DN=1; cc -DSAFETY -DBFS; pan -w24; expect violated no-carry
 * run tight-bias: spin -DBITS=4 -DGETTERS=3 -DN=2;
 *     cc -DSAFETY; pan -m1000000 -w24; expect violated no-carry
 */
#define PAGES 1
#include "ref.inc"

inline put_release(n)
{
	put(0, n);
	if
	:: won ->
		d_step {
			assert(holder[0] == _pid);	/* claim: one-release */
			holder[0] = POOL;
			won = false
		}
	:: else
	fi
}

active proctype owner()
{
	REF_LOCALS;

	do
	:: atomic { holder[0] == POOL -> holder[0] = _pid };
		unfreeze(0, 1);
		put_release(1)
	od
}

active [GETTERS] proctype getter()
{
	REF_LOCALS;

	do
	:: try_get(0, N);
		if
		:: ok ->
			ok = false;
			put_release(N)
		:: else
		fi
	od
}
