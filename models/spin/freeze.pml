/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * freeze.pml - two freezers and getters meet on one live object. Does the freezer have exclusive
 * access until the unfreeze, whatever junk getters add, and does the object stay frozen until then?
 *
 * The object has one reference for being visible, as in a tree. A freezer gets its own, freezes at
 * 2, changes two halves of the object, and unfreezes at 2. A getter gets, reads both halves, and
 * puts. The visible reference stays as long as a freezer relies on it (evict.pml has the lock that
 * ensures this). Then it is put while getters are still running: the last put releases.
 *
 * run full: spin -DROUNDS=3 -DGETTERS=2 -DTRIES=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DROUNDS=1 -DGETTERS=1 -DTRIES=2; cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-freezers: spin -DROUNDS=2 -DGETTERS=0 -DTRIES=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * Getters add to a frozen word, and the unfreeze overwrites that junk:
 * run junk: spin -DROUNDS=1 -DGETTERS=2 -DTRIES=2 -DREACH_JUNK;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached junk
 * A freezer finds a reader, and gives up:
 * run busy: spin -DROUNDS=1 -DGETTERS=1 -DTRIES=1 -DREACH_BUSY;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached busy
 */
#define PAGES 1
#include "ref.inc"

byte half[2];	/* of the object's contents; equal whenever it is not frozen */
byte readers;	/* getters that hold a reference now */
byte freezing = 2;	/* freezers that rely on the visible reference */
bool released;

#define LOCALS REF_LOCALS; byte round, seen

inline release()
{
	d_step {
		printf("released\n");
		assert(holder[0] == _pid && !released);	/* claim: one-release */
		assert(freezing == 0 && readers == 0);	/* claim: no-pin-on-free */
		released = true;
		holder[0] = POOL
	}
}

inline put_release()
{
	put(0, 1);
	if
	:: won -> release()
	:: else
	fi
}

proctype freezer()
{
	LOCALS;

	do
	:: round < ROUNDS ->
		round++;
		try_get(0, 1);
		if
		:: ok ->
			try_freeze(0, 2);
			if
			:: won ->
				d_step {
					/* claim: freeze-excludes-pins */
					assert(readers == 0);
					seen = half[0];
					half[0] = 1 - seen
				};
				d_step {
					/* claim: freeze-excludes-freezers */
					assert(half[1] == seen);
#ifdef REACH_JUNK
					assert(word[0] < FROZEN + 2);	/* reached: junk */
#endif
					half[1] = 1 - seen;
					seen = 0
				};
				unfreeze(0, 2)
			:: else ->
#ifdef REACH_BUSY
				assert(readers == 0);			/* reached: busy */
#endif
				skip
			fi;
			put_release()
		:: else
		fi;
		d_step { ok = false; won = false }
	:: else -> break
	od;
	freezing--
}

proctype getter()
{
	LOCALS;

	do
	:: round < TRIES ->
		round++;
		try_get(0, 1);
		if
		:: ok ->
			d_step {
				readers++;
				seen = half[0];
				assert(holder[0] == LIVE)	/* claim: holder-of-live-page */
			};
			d_step {
				assert(half[1] == seen);	/* claim: freeze-excludes-pins */
				assert(holder[0] == LIVE);	/* claim: holder-of-live-page */
				seen = 0;
				readers--
			};
			put_release()
		:: else
		fi;
		d_step { ok = false; won = false }
	:: else -> break
	od
}

/* Ends the object's visibility. */
proctype owner()
{
	REF_LOCALS;

	unfreeze(0, 1);
	freezing == 0;
	put_release();
	won = false
}

init {
	byte n;

	atomic {
		run owner();
		holder[0] = 1;	/* the owner's: it sets the object up */
		run freezer();
		run freezer();
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
