/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.pml - readers look up, get, look again, put and repeat for ever, while a mover inserts, erases, freezes
 * and unfreezes a number of times. Does a put take more than its two steps, or does a lookup ever begin again
 * though nobody has moved the page and nobody has it frozen? And when the mover has finished, can a reader
 * still go round for ever without finding the page, or finding none?
 *
 * One page, one slot. The word is a few bits wide, so that the junk of readers that meet a frozen page is reset on the way.
 *
 * run full: spin -DREADERS=2 -DROUNDS=3 -DBITS=4; cc -DNP; pan -l -f -m1000000 -w22; expect clean
 * run steps: spin -DREADERS=3 -DROUNDS=2 -DBITS=5; cc -DSAFETY -DCOLLAPSE; pan -m100000 -w22; expect clean
 * run quick: spin -DREADERS=1 -DROUNDS=2 -DBITS=4; cc -DNP; pan -l -f -m1000000 -w20; expect clean
 * run quick-steps: spin -DREADERS=2 -DROUNDS=2 -DBITS=4; cc -DSAFETY; pan -m1000000 -w20; expect clean
 *
 * Without fairness the mover may stop for ever between freeze and unfreeze, and the reader goes round until then: a
 * freezer that is stalled holds up those who want that page.
 * run stalled-freezer: spin -DREADERS=1 -DROUNDS=2 -DBITS=4; cc -DNP; pan -l -m1000000 -w20; expect cycle
 */
#define PAGES 1
#define NOTE_SUBTRACT(p) steps = 1
#define NOTE_CAS(p)      steps++
#include "ref.inc"

#define NONE 255

byte slot = NONE;
/* Somebody has stored, erased, frozen or unfrozen since reader n began its try. */
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
			if
			:: atomic { holder[0] == POOL -> holder[0] = _pid };
				atomic { unfreeze(0, 2); move() };
				atomic { slot = 0; move() };
				put_release()
			:: true
			fi
		:: else ->
			if
			:: atomic { slot = NONE; move() };
				put_release()
			:: atomic { try_freeze(0, 1); move() };
				if
				:: won ->
					if
					:: atomic { unfreeze(0, 1); move() }
					:: atomic { slot = NONE; move() };
						release()
					fi
				:: else
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
	/* Not this time. */
	d_step {
		assert(moved[_pid - 1] || holder[0] != LIVE);	/* claim: repeats-if-moved */
		page = NONE;
		ok = false
	};
	goto find;
found:
	skip;
progress:
	d_step { page = NONE; ok = false };
	goto find
}
