/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lookup-liveness.pml - readers look up, get, check again, put and repeat for ever, while a mover
 * inserts, erases, freezes and unfreezes a number of times. Does a put ever take more than its two
 * steps, or does a look-up restart although the page was neither moved nor frozen? And can a reader
 * loop for ever without finding the page, or finding none, once the page is no longer moved?
 *
 * One page, one slot. The mover holds the tree's lock from the freeze until it has emptied the slot
 * or unfrozen the page. A reader that failed SPIN times waits for that lock before it retries. The
 * word is a few bits wide, so that the junk of readers that meet a frozen page is also reset.
 *
 * No fairness is assumed: any process may stop for ever at any point.
 * run full: spin -DREADERS=2 -DROUNDS=3 -DBITS=4 -DSPIN=2;
 *     cc -DNP; pan -l -m1000000 -w22; expect clean
 * run steps: spin -DREADERS=3 -DROUNDS=2 -DBITS=5 -DSPIN=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m1000000 -w22; expect clean
 * run quick: spin -DREADERS=1 -DROUNDS=2 -DBITS=4 -DSPIN=2;
 *     cc -DNP; pan -l -m1000000 -w20; expect clean
 * run quick-steps: spin -DREADERS=2 -DROUNDS=2 -DBITS=4 -DSPIN=2;
 *     cc -DSAFETY; pan -m1000000 -w20; expect clean
 *
 * A reader that only spins loops as long as the freezer is stalled; only fairness ends that.
 * run stalled-freezer: spin -DREADERS=1 -DROUNDS=2 -DBITS=4 -DSPIN=99;
 *     cc -DNP; pan -l -m1000000 -w20; expect cycle
 * run fair: spin -DREADERS=2 -DROUNDS=3 -DBITS=4 -DSPIN=99;
 *     cc -DNP; pan -l -f -m1000000 -w22; expect clean
 */
#define PAGES 1
#define NOTE_SUBTRACT(p) steps = 1
#define NOTE_CAS(p)      steps++
#include "ref.inc"

#define NONE 255

byte slot = NONE;
bool locked;	/* the tree's lock */
/* The mover has stored, erased, frozen or unfrozen since reader n began its attempt. */
bool moved[READERS];

#define LOCALS REF_LOCALS; byte page = NONE, steps

inline move()
{
	d_step {
		moved[0] = true;
#if READERS > 1
		moved[1] = true;
#endif
#if READERS > 2
		moved[2] = true
#endif
	}
}

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
}

inline release()
{
	d_step {
		assert(holder[0] == _pid);			/* claim: one-release */
		assert(slot == NONE);				/* claim: erased-before-release */
		holder[0] = POOL
	}
}

inline put_release()
{
	put(0, 1);
	assert(steps <= 2);					/* claim: put-is-two-steps */
	steps = 0;
	if
	:: won -> release()
	:: else
	fi;
	won = false
}

active proctype mover()
{
	LOCALS;
	byte round;

	do
	:: round < ROUNDS ->
		round++;
		if
		:: slot == NONE ->
			/* insert */
			if
			:: atomic { holder[0] == POOL -> holder[0] = _pid };
				atomic { unfreeze(0, 2); move() };
				lock();
				atomic { slot = 0; move() };
				unlock();
				put_release()
			:: true
			fi
		:: else ->
			lock();
			if
			:: /* erase */
				atomic { slot = NONE; move() };
				unlock();
				put_release()
			:: atomic { try_freeze(0, 1); move() };
				if
				:: won ->
					if
					:: atomic { unfreeze(0, 1); move() };
						unlock()
					:: atomic { slot = NONE; move() };
						unlock();
						release()
					fi
				:: else -> unlock()
				fi;
				won = false
			fi
		fi
	:: else -> break
	od
}

active [READERS] proctype reader()
{
	LOCALS;
	byte failed;

find:
	atomic { moved[_pid - 1] = false; page = slot };
	if
	:: page == NONE -> goto found
	:: else
	fi;
	try_get(0, 1);
	if
	:: ok ->
		ok = slot == page;
		if
		:: ok ->
			put_release();
			goto found
		:: else -> put_release()
		fi
	:: else
	fi;
	/* This attempt failed. */
	d_step {
		assert(moved[_pid - 1] || holder[0] != LIVE);	/* claim: repeats-if-moved */
		page = NONE;
		ok = false;
		failed = (SPIN < 99 -> failed + 1 : 0)
	};
	if
	:: failed == SPIN -> lock(); unlock(); failed = 0
	:: else
	fi;
	goto find;
found:
	skip;
progress:
	d_step { page = NONE; ok = false; failed = 0 };
	goto find
}
