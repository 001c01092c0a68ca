/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait.pml - readers pin a page that is being filled and sleep until the fill ends. The fill ends
 * as valid or failed and wakes the sleepers, and the page is reused for another generation. Is a
 * wake ever lost, so that a reader sleeps for ever, and does a woken reader ever find anything but
 * the end of the fill that it waited for? Does the end of a fill ever loop more than twice?
 *
 * One page, one slot, and the flags of src/core/folio.h, which the next generation uses again. A
 * filler does FILLS fills, a reader TRIES look-ups, an eraser drops the page in the slot DROPS
 * times. Sleeping is one step that checks the flags, as the kernel does, and then a wait for a
 * wake. With SPURIOUS the kernel also wakes spuriously.
 *
 * run full: spin -DFILLS=3 -DREADERS=2 -DTRIES=2 -DDROPS=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run three: spin -DFILLS=2 -DREADERS=3 -DTRIES=1 -DDROPS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run spurious: spin -DFILLS=2 -DREADERS=2 -DTRIES=2 -DDROPS=1 -DSPURIOUS;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DFILLS=2 -DREADERS=2 -DTRIES=1 -DDROPS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * Two sleep at once, and a wake arrives after its requester has seen the end on its own:
 * run two-asleep: spin -DFILLS=1 -DREADERS=2 -DTRIES=1 -DDROPS=1 -DREACH_TWO;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached two-asleep
 * run none-asleep: spin -DFILLS=1 -DREADERS=1 -DTRIES=1 -DDROPS=1 -DREACH_NONE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached none-asleep
 */
#define PAGES 1
#include "ref.inc"

#define NONE    255
#define FILLING 16

#define LOCKED   1
#define WAITERS  2
#define UPTODATE 4
#define ERROR    8

byte slot = NONE;
bool locked;		/* the tree's lock */
bool in_tree;		/* owner */
byte flags;
byte contents = NONE;	/* the generation that filled it */
byte generations;

byte pins;		/* readers whose second check succeeded */
byte asleep;		/* readers that wait for a wake: a bit each */

#define LOCALS REF_LOCALS; byte page = NONE, seen, round
#define SELF   (1 << _pid)	/* this process's bit in asleep */

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
}

inline put_release()
{
	put(0, 1);
	if
	:: won ->
		d_step {
			printf("released\n");
			assert(holder[0] == _pid);		/* claim: one-release */
			assert(slot == NONE);			/* claim: erased-before-release */
			assert(pins == 0 && asleep == 0);	/* claim: no-pin-on-free */
			contents = NONE;
			won = false;
			holder[0] = POOL
		}
	:: else
	fi
}

/* folio_filled. */
inline end_fill(result)
{
	seen = flags;
	do
	:: d_step {
			tries++;
			assert(tries <= 2);			/* claim: end-is-two-tries */
			ok = flags == seen;
			if
			:: ok ->
				printf("flags %d -> %d\n", flags, result);
				flags = result
			:: else -> seen = flags
			fi
		};
		if
		:: ok -> break
		:: else
		fi
	od;
	if
	:: seen & WAITERS ->
#ifdef REACH_NONE
		assert(asleep != 0);				/* reached: none-asleep */
#endif
		d_step { printf("wake %d\n", asleep); asleep = 0 }
	:: else
	fi;
	d_step { seen = 0; tries = 0; ok = false }
}

proctype filler()
{
	LOCALS;
	byte tries;

	do
	:: round < FILLS ->
		round++;
		atomic { holder[0] == POOL -> holder[0] = _pid };
		flags = LOCKED;
		d_step { generations++; in_tree = true };
		unfreeze(0, 2);
		lock();
		slot = FILLING;
		unlock();
		if
		:: /* valid */
			contents = generations;
			lock();
			if
			:: in_tree -> slot = 0
			:: else			/* dropped since */
			fi;
			unlock();
			end_fill(UPTODATE)
		:: /* the read failed: erased, so that the next one retries */
			lock();
			page = in_tree;
			if
			:: page -> slot = NONE; in_tree = false
			:: else
			fi;
			unlock();
			end_fill(ERROR);
			if
			:: page -> put_release()
			:: else
			fi;
			page = NONE
		fi;
		put_release()
	:: else -> break
	od
}

proctype eraser()
{
	LOCALS;

	do
	:: round < DROPS ->
		round++;
		lock();
		if
		:: slot != NONE ->
			slot = NONE;
			in_tree = false;
			unlock();
			put_release()
		:: else -> unlock()
		fi
	:: else -> break
	od
}

proctype reader()
{
	LOCALS;
	byte generation;

	do
	:: round < TRIES ->
		round++;
		page = slot;
		if
		:: page != NONE ->
			try_get(0, 1);
			if
			:: ok ->
				d_step {
					ok = slot == page;
					pins = pins + ok;
					generation = (ok -> generations : 0)
				};
				if
				:: ok && page == FILLING ->
					/* folio_wait_unlocked */
					do
					:: seen = flags;
						if
						:: !(seen & LOCKED) -> break
						:: (seen & LOCKED) && !(seen & WAITERS) ->
							d_step {
								ok = flags == seen;
								if
								:: ok ->
									flags = flags | WAITERS;
									seen = flags
								:: else
								fi
							}
						:: else -> ok = true
						fi;
						if
						:: ok ->
							d_step {
								if
								:: flags == seen ->
									asleep = asleep | SELF
								:: else
								fi
							};
#ifdef REACH_TWO
							/* reached: two-asleep */
							assert((asleep & (asleep - 1)) == 0);
#endif
							if
							:: !(asleep & SELF)
#ifdef SPURIOUS
							:: atomic {
									(asleep & SELF) != 0 ->
									asleep = asleep & ~SELF
								}
#endif
							fi
						:: else
						fi
					od;
					atomic {
						/* claim: holder-of-live-page */
						assert(generation == generations);
						/* claim: woken-at-the-end */
						assert(seen == UPTODATE || seen == ERROR);
						/* claim: woken-to-contents */
						assert(seen != UPTODATE || contents == generation);
						ok = true;
						seen = 0
					}
				:: ok && page != FILLING ->
					/* claim: holder-of-right-page */
					assert(contents == generation)
				:: else
				fi;
				d_step { pins = pins - ok; generation = 0 };
				put_release()
			:: else
			fi
		:: else
		fi;
		d_step { page = NONE; ok = false }
	:: else -> break
	od
}

init {
	byte n;

	atomic {
		run filler();
		run eraser();
		do
		:: n < READERS -> run reader(); n++
		:: else -> break
		od;
		n = 0
	}
	/* The last generation stays. Free it now, so that a filler waiting for the page ends. */
	do
	:: timeout ->
		if
		:: _nr_pr == 1 -> break
		:: else ->
			assert(slot != NONE && asleep == 0);		/* claim: no-deadlock */
			d_step {
				assert(word[0] == 1 && in_tree);	/* claim: no-leak */
				slot = NONE;
				in_tree = false;
				contents = NONE;
				word[0] = FROZEN;
				refs[0] = 0;
				holder[0] = POOL
			}
		fi
	od;
	assert(asleep == 0);						/* claim: no-deadlock */
	assert(slot != NONE || holder[0] == POOL && frozen(word[0]));	/* claim: no-leak */
	assert(slot == NONE || word[0] == 1)				/* claim: no-leak */
}
