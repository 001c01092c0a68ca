/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reuse.pml - a put stalls between its subtraction and its compare-and-swap, while the page is
 * released, allocated again as another type, and put there. Is each generation of the page released
 * exactly once, and by its own type?
 *
 * One page. Two owners take it out of the pool, one as type X, one as type Y. Each may take a
 * second reference, and ends the generation with a put, or by a freeze as eviction does. Getters
 * hold a stale pointer: they get whatever the page is by then, and put. They represent every late
 * look-up, so they check nothing.
 *
 * run full: spin -DROUNDS=3 -DGETTERS=2; cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DROUNDS=2 -DGETTERS=1; cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * The race itself, found: the winner's zero belongs to a later generation, and the page has another
 * type than the winner put; the same with a getter's put; and a get that cancels a release.
 * run late-putter: spin -DROUNDS=1 -DGETTERS=1 -DREACH_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached late-putter
 * run late-getter: spin -DROUNDS=1 -DGETTERS=1 -DREACH_GETTER;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached late-getter
 * run called-off: spin -DROUNDS=1 -DGETTERS=1 -DREACH_CALLED_OFF;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached called-off
 * Without a get that meets the zero no put can win late:
 * run no-getter: spin -DROUNDS=4 -DGETTERS=0 -DREACH_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 */
#define PAGES 1

/* The number of generations so far: shows a put whether the zero is the one that it made. */
byte generations;
#define NOTE_UNFREEZE(p) generations++
#define NOTE_SUBTRACT(p) generation = generations
#define NOTE_WIN(p) late = generation != generations
#ifdef REACH_CALLED_OFF
#define NOTE_GET(p) revived = ok && value == 1
#endif
#include "ref.inc"

#define FREE 0
#define X    1
#define Y    2

byte type[PAGES] = FREE;
byte held[3];	/* per type: pages that its destructor has not yet returned */

#define LOCALS REF_LOCALS; byte kind, generation, round; bool late, revived

/* By the winner of a put: rule R2, the page itself records its type. */
inline release(p, mine)
{
	kind = type[p];
	d_step {
		printf("page %d: released as type %d\n", p, kind);
		assert(holder[p] == _pid);		/* claim: one-release */
		assert(kind == type[p]);		/* claim: release-by-type */
		assert(held[kind] == 1);		/* claim: release-by-type */
#ifdef REACH_LATE
		assert(!(late && mine != FREE && kind != mine));	/* reached: late-putter */
#endif
#ifdef REACH_GETTER
		assert(!(late && mine == FREE));	/* reached: late-getter */
#endif
#ifdef REACH_CALLED_OFF
		assert(!revived);			/* reached: called-off */
#endif
		held[kind] = held[kind] - 1;
		type[p] = FREE;
		holder[p] = POOL;
		kind = 0;
		late = false
	}
}

inline put_release(p, mine)
{
	put(p, 1);
	generation = 0;
	if
	:: won -> release(p, mine)
	:: else
	fi
}

proctype owner(byte mine)
{
	LOCALS;

	do
	:: round < ROUNDS ->
		round++;
		atomic { holder[0] == POOL -> holder[0] = _pid }
		d_step { type[0] = mine; held[mine]++; printf("page 0: taken as type %d\n", mine) }
		unfreeze(0, 1);
		if
		:: put_release(0, mine)
		:: get(0, 1);
			put_release(0, mine);
			put_release(0, mine)
		:: try_freeze(0, 1);
			if
			:: won -> release(0, mine)
			:: else -> put_release(0, mine)
			fi
		fi
	:: else -> break
	od
}

proctype getter()
{
	LOCALS;

	do
	:: round < ROUNDS ->
		round++;
		try_get(0, 1);
		if
		:: ok ->
			put_release(0, FREE)
		:: else
		fi
	:: else -> break
	od
}

init {
	atomic {
		run owner(X);
		run owner(Y);
		byte i;
		do
		:: i < GETTERS -> run getter(); i++
		:: else -> break
		od
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	assert(holder[0] == POOL && frozen(word[0]));		/* claim: no-leak */
	assert(held[X] == 0 && held[Y] == 0)			/* claim: no-leak */
}
