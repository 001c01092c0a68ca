/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refuse.pml - getters take more references to a live object than the word is meant to hold. Does
 * a refusal ever make a zero that no put releases, or lose or invent a reference, or does the count
 * reach the frozen half?
 *
 * The word is BITS wide, so that references past 2^(BITS - 2) are refused. A getter takes N at a
 * time and keeps them, up to KEEP times; then it puts them, N at a time. The owner puts its
 * reference at any time.
 *
 * GETTERS * N must be below 2^(BITS - 2): from the limit on, each of them may add N before the
 * first backs out.
 * run full: spin -DBITS=4 -DGETTERS=3 -DN=1 -DKEEP=3;
 *     cc -DSAFETY -DCOLLAPSE; pan -m1000000 -w24; expect clean
 * run bias: spin -DBITS=5 -DGETTERS=3 -DN=2 -DKEEP=3;
 *     cc -DSAFETY -DCOLLAPSE; pan -m1000000 -w24; expect clean
 * run quick: spin -DBITS=4 -DGETTERS=3 -DN=1 -DKEEP=2;
 *     cc -DSAFETY; pan -m1000000 -w20; expect clean
 *
 * Getters are refused, and a getter that was past the limit may find that it no longer is:
 * run refused: spin -DBITS=4 -DGETTERS=3 -DN=1 -DKEEP=2 -DREACH_REFUSED;
 *     cc -DSAFETY; pan -m1000000 -w20; expect reached refused
 * run spared: spin -DBITS=4 -DGETTERS=3 -DN=1 -DKEEP=2 -DREACH_SPARED;
 *     cc -DSAFETY; pan -m1000000 -w20; expect reached spared
 * At 2^(BITS - 2) the count reaches the frozen half: the bound is exact.
 * run tight: spin -DBITS=4 -DGETTERS=4 -DN=1 -DKEEP=2;
 *     cc -DSAFETY; pan -m1000000 -w24; expect violated no-overflow
 */
#define PAGES 1
#ifdef REACH_SPARED
#define NOTE_GET(p) late = !ok && !frozen(value)
#endif
#include "ref.inc"

byte inside;	/* references that getters hold, in units of N */
bool released;

inline put_release(n)
{
	put(0, n);
	if
	:: won ->
		d_step {
			assert(holder[0] == _pid && !released);	/* claim: one-release */
			assert(inside == 0);			/* claim: no-pin-on-free */
			released = true;
			holder[0] = POOL;
			won = false
		}
	:: else
	fi
}

proctype owner()
{
	REF_LOCALS;

	unfreeze(0, 1);
	put_release(1)
}

proctype getter()
{
	REF_LOCALS;
	byte kept, round;
	bool late;

	do
	:: round < KEEP ->
		round++;
		try_get(0, N);
		if
		:: ok ->
#ifdef REACH_SPARED
			assert(!late);				/* reached: spared */
#endif
			d_step { kept++; inside++; ok = false }
		:: else ->
#ifdef REACH_REFUSED
			assert(frozen(word[0]));		/* reached: refused */
#endif
			skip
		fi
	:: else -> break
	od;
	round = 0;
	do
	:: kept > 0 ->
		d_step {
			assert(holder[0] == LIVE);		/* claim: holder-of-live-page */
			kept--;
			inside--
		};
		put_release(N)
	:: else -> break
	od
}

init {
	byte n;

	atomic {
		run owner();
		holder[0] = 1;	/* the owner's: it sets the object up */
		do
		:: n < GETTERS -> run getter(); n++
		:: else -> break
		od;
		n = 0
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	assert(released && holder[0] == POOL && frozen(word[0]))	/* claim: no-leak */
}
