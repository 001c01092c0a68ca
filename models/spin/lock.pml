/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock.pml - threads change pages in place, several at a time, next to write-back, a sync and a
 * truncation. Do they ever wait for each other in a circle? Do two threads ever have one page
 * locked, or does a page change while it is written?
 *
 * LOCKERS threads lock pages as src/write/inplace.c does, ROUNDS times, any pages in any order: a
 * page that comes after all that the thread has is waited for, another one is tried. At its first
 * lock a thread is throttled. It marks pages dirty, or not, and unlocks some or all of them. If a
 * try fails, it unlocks all. The flusher (write/flusher.c) skips locked pages. A sync
 * (write/writeback.c, write_all) waits for each page that is locked. A truncation has the file's
 * map_lock while it waits for a page (write/page.c, zero_tail); a write by copy has it, too, and
 * is for this model the same.
 *
 * run full: spin -DLOCKERS=2 -DROUNDS=1 -DPAGES=3 -DMAX=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DLOCKERS=2 -DROUNDS=1 -DPAGES=2 -DMAX=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * A thread gives up because a page before its own is locked; a writer is throttled:
 * run refused: spin -DLOCKERS=2 -DROUNDS=1 -DPAGES=2 -DMAX=1 -DREACH_REFUSED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached refused
 * run throttled: spin -DLOCKERS=2 -DROUNDS=1 -DPAGES=2 -DMAX=1 -DREACH_THROTTLED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached throttled
 */
#define ALL ((1 << PAGES) - 1)

byte lock[PAGES];	/* the thread that has it, or 0 */
byte locked;		/* pages that are locked: a bit each */
byte dirty;		/* likewise; also while they are written */
byte writing;		/* likewise */
byte dirty_count;
bool map;		/* map_lock, held exclusively */
byte left;		/* lockers that have not ended */

inline take(p)
{
	assert(lock[p] == 0);			/* claim: one-holder */
	assert(!(writing & 1 << p));		/* claim: stable-pages */
	lock[p] = _pid;
	locked = locked | 1 << p
}

inline give(p)
{
	assert(lock[p] == _pid);		/* claim: one-holder */
	lock[p] = 0;
	locked = locked & ~(1 << p)
}

#define is_free(p) (lock[p] == 0 && !(writing & 1 << p))

/* Begins to write a page: collect. */
inline collect(p)
{
	assert(lock[p] == 0);			/* claim: stable-pages */
	writing = writing | 1 << p
}

inline written(p)
{
	writing = writing & ~(1 << p);
	dirty = dirty & ~(1 << p);
	dirty_count--
}

inline unlock_all()
{
	n = 0;
	do
	:: n < PAGES ->
		if
		:: has & 1 << n -> d_step { give(n); has = has & ~(1 << n) }
		:: else
		fi;
		n++
	:: else -> break
	od;
	n = 0
}

proctype locker()
{
	byte round, has, p, n;

	do
	:: round < ROUNDS ->
		round++;
		do
		:: has != ALL ->
			/* Any page that it does not have. */
			atomic {
				select(p : 0 .. PAGES - 1);
				if
				:: has & 1 << p -> goto marked
				:: else
				fi
			};
			if
			:: has == 0 ->
#ifdef REACH_THROTTLED
				/* reached: throttled */
				assert(dirty_count < MAX || !(dirty & ~locked));
#endif
				/*
				 * flusher_throttle: until there are fewer, or all have been written
				 * that are not locked (has_settled).
				 */
				dirty_count < MAX || !(dirty & ~locked)
			:: else
			fi;
			if
			:: has >> p == 0 ->
				/* After all that it has: folio_lock. */
				atomic { is_free(p) -> take(p); has = has | 1 << p }
			:: else ->
				/* folio_try_lock */
				atomic {
					if
					:: is_free(p) -> take(p); has = has | 1 << p
					:: else ->
#ifdef REACH_REFUSED
						assert(false);	/* reached: refused */
#endif
						goto failed
					fi
				}
			fi;
			/* folio_mark_dirty: takes the tree's lock only, so it waits for nothing. */
			if
			:: atomic {
					!(dirty & 1 << p) ->
					dirty = dirty | 1 << p;
					dirty_count++
				}
			:: true
			fi;
marked:
			p = 0
		:: has != 0 ->
			/* One of them, in any order. */
			atomic {
				select(p : 0 .. PAGES - 1);
				if
				:: has & 1 << p -> give(p); has = has & ~(1 << p)
				:: else
				fi;
				p = 0
			}
		:: break
		od;
failed:
		p = 0;
		unlock_all()
	:: else -> break
	od;
	left--
}

proctype flusher()
{
	byte p;

	do
	:: atomic {
			(dirty & ~locked & ~writing) != 0 ->
			p = 0;
			do
			:: dirty & ~locked & ~writing & 1 << p -> break
			:: else -> p++
			od;
			collect(p)
		};
		d_step { written(p); p = 0 }
	:: left == 0 -> break
	od
}

proctype syncer()
{
	byte p;

	do
	:: p < PAGES ->
		if
		:: atomic {
				dirty & ~locked & ~writing & 1 << p -> collect(p)
			};
			d_step { written(p); p++ }
		/* Clean, or written by another thread: dirty_wait_written. */
		:: !(dirty & 1 << p) -> p++
		fi
	:: else -> break
	od
}

proctype truncator()
{
	byte p;

	atomic { !map -> map = true };
	select(p : 0 .. PAGES - 1);
	atomic { is_free(p) -> take(p) };
	atomic { give(p); map = false; p = 0 }
}

init {
	byte n;

	atomic {
		left = LOCKERS;
		do
		:: n < LOCKERS -> run locker(); n++
		:: else -> break
		od;
		run flusher();
		run syncer();
		run truncator()
	}
}
