/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict.pml - eviction isolates a page with a reference, freezes it under the lock of its file's
 * tree at the two references that it knows of, erases and releases it, while readers pin pages,
 * misses insert them, and files are invalidated. Does it ever take a page that a reader has
 * pinned, or one that has left its file, or leave one behind: a free page in the queue, or a cached
 * one out of the queue for ever?
 *
 * Two files of one page each, so two trees and two locks; PAGES pages; one queue, which stands for
 * all of them (small, main, parked), with its own lock, taken inside a tree's. A user does ROUNDS
 * look-ups: pin and put, or on a miss insert and fill, which may fail. An evictor tries EVICTS
 * times, the invalidator erases DROPS times.
 *
 * run full: spin -DPAGES=2 -DROUNDS=2 -DEVICTS=1 -DDROPS=1 -DUSERS=2 -DEVICTORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run one-page: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DDROPS=2 -DUSERS=2 -DEVICTORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * deep twice: spin -DPAGES=2 -DROUNDS=2 -DEVICTS=2 -DDROPS=1 -DUSERS=2 -DEVICTORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * deep two-evictors-two-users: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DDROPS=1 -DUSERS=2
 *     -DEVICTORS=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run two-evictors: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DDROPS=2 -DUSERS=1 -DEVICTORS=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DDROPS=2 -DUSERS=1 -DEVICTORS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-pins: spin -DPAGES=1 -DROUNDS=1 -DEVICTS=1 -DDROPS=1 -DUSERS=2 -DEVICTORS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * Pinned pages are skipped; a page moves to the other file; the evictor's put is the one that
 * releases an invalidated page.
 * run busy: spin -DPAGES=1 -DROUNDS=1 -DEVICTS=1 -DDROPS=1 -DUSERS=2 -DEVICTORS=1 -DREACH_BUSY;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached busy
 * run recycled: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DDROPS=2 -DUSERS=2 -DEVICTORS=1
 *     -DREACH_RECYCLED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached recycled
 * run evictor-puts-last: spin -DPAGES=1 -DROUNDS=1 -DEVICTS=1 -DDROPS=1 -DUSERS=1 -DEVICTORS=1
 *     -DREACH_LAST;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached evictor-puts-last
 */
#define FILES 2
#include "ref.inc"

#define NONE 255

byte slot[FILES] = NONE;
bool locked[FILES];	/* the trees' locks */
byte owner[PAGES] = NONE;	/* the file in whose tree the page is; cleared by erase */
byte index[PAGES] = NONE;	/* the file that the page was set up for; stays until release */
bool queued[PAGES];
bool queue_locked;

byte pins[PAGES];	/* readers whose second check succeeded */
#ifdef REACH_RECYCLED
bool evicted[PAGES];	/* this page has been evicted before */
#endif

#define LOCALS REF_LOCALS; byte page = NONE, f = 0, round

inline lock(file)
{
	atomic { !locked[file] -> locked[file] = true }
}

inline unlock(file)
{
	locked[file] = false
}

inline lock_queue()
{
	atomic { !queue_locked -> queue_locked = true }
}

inline unlock_queue()
{
	queue_locked = false
}

inline alloc()
{
	atomic {
		if
		:: holder[0] == POOL -> page = 0; holder[0] = _pid
#if PAGES > 1
		:: holder[1] == POOL -> page = 1; holder[1] = _pid
#endif
		:: else -> page = NONE
		fi
	}
}

inline release(p)
{
	d_step {
		printf("page %d: released\n", p);
		assert(holder[p] == _pid);			/* claim: one-release */
		assert(slot[0] != p && slot[1] != p);		/* claim: erased-before-release */
		assert(!queued[p]);				/* claim: queued-only-in-tree */
		assert(pins[p] == 0);				/* claim: no-pin-on-free */
		index[p] = NONE;
		holder[p] = POOL
	}
}

inline put_release(p, n)
{
	put(p, n);
	if
	:: won -> release(p)
	:: else
	fi
}

/*
 * Into the queue, or back, unless the page has left its file since. An erase clears owner first,
 * and takes the page out of the queue after that.
 */
inline queue_if_in_tree(p)
{
	lock_queue();
	if
	:: owner[p] != NONE ->
		d_step {
			assert(!queued[p]);			/* claim: queued-once */
			queued[p] = true;
			printf("page %d: queued\n", p)
		}
	:: else
	fi;
	unlock_queue()
}

/* The tree's lock is held. */
inline erase(p, file)
{
	slot[file] = NONE;
	owner[p] = NONE;
	lock_queue();
	queued[p] = false;
	unlock_queue();
	printf("page %d: erased\n", p)
}

inline pick_file()
{
	if
	:: f = 0
	:: f = 1
	fi
}

inline forget()
{
	d_step { page = NONE; f = 0; ok = false; won = false }
}

proctype user()
{
	LOCALS;

	do
	:: round < ROUNDS ->
		round++;
		pick_file();
		page = slot[f];
		if
		:: page != NONE ->
			try_get(page, 1);
			if
			:: ok ->
				d_step {
					ok = slot[f] == page;
					if
					:: ok ->
						pins[page]++;
						/* claim: holder-of-right-page */
						assert(holder[page] == LIVE && index[page] == f)
					:: else
					fi
				};
				if
				:: ok ->
#ifdef REACH_RECYCLED
					assert(!(evicted[page]));	/* reached: recycled */
#endif
					d_step {
						/* claim: holder-of-right-page */
						assert(holder[page] == LIVE && index[page] == f);
						pins[page]--
					}
				:: else
				fi;
				put_release(page, 1)
			:: else
			fi
		:: else ->
			alloc();
			if
			:: page != NONE ->
				d_step { owner[page] = f; index[page] = f };
				unfreeze(page, 2);
				lock(f);
				if
				:: slot[f] == NONE ->
					slot[f] = page;
					unlock(f);
					printf("page %d: in the tree of %d\n", page, f);
					/* filled here, with this reference as the pin */
					/* claim: holder-of-right-page */
					assert(holder[page] == LIVE && index[page] == f);
					if
					:: /* valid */
						queue_if_in_tree(page)
					:: /* the read failed: erased, so the next one retries */
						lock(f);
						if
						:: owner[page] == f ->
							erase(page, f);
							unlock(f);
							put_release(page, 1)
						:: else -> unlock(f)
						fi
					fi;
					put_release(page, 1)
				:: else ->
					/* Another user was faster. */
					unlock(f);
					owner[page] = NONE;
					put_release(page, 2)
				fi
			:: else
			fi
		fi;
		forget()
	:: else -> break
	od
}

proctype evictor()
{
	LOCALS;

	do
	:: round < EVICTS ->
		round++;
		lock_queue();
		if
		:: queued[0] -> page = 0
#if PAGES > 1
		:: queued[1] -> page = 1
#endif
		:: else -> page = NONE
		fi;
		if
		:: page != NONE ->
			try_get(page, 1);
			if
			:: ok -> queued[page] = false
			:: else -> page = NONE	/* frozen by another process: stays queued */
			fi
		:: else
		fi;
		unlock_queue();
		if
		:: page != NONE ->
			f = owner[page];
			if
			:: f != NONE -> lock(f)
			:: else
			fi;
			if
			:: f != NONE && owner[page] == f ->
				try_freeze(page, 2);
				if
				:: won ->
					/* claim: freeze-excludes-pins */
					assert(pins[page] == 0);
					/* claim: evict-page-in-slot */
					assert(slot[f] == page);
					assert(!queued[page]);		/* claim: isolated-by-one */
					slot[f] = NONE;
					d_step {
						owner[page] = NONE;
#ifdef REACH_RECYCLED
						evicted[page] = true;
#endif
						printf("page %d: evicted\n", page)
					};
					unlock(f);
					release(page)
				:: else ->
#ifdef REACH_BUSY
					assert(pins[page] == 0);	/* reached: busy */
#endif
					unlock(f);
					queue_if_in_tree(page);
					put_release(page, 1)
				fi
			:: else ->
				if
				:: f != NONE -> unlock(f)
				:: else
				fi;
				put_release(page, 1);
#ifdef REACH_LAST
				assert(!won)			/* reached: evictor-puts-last */
#endif
			fi
		:: else
		fi;
		forget()
	:: else -> break
	od
}

proctype invalidator()
{
	LOCALS;

	do
	:: round < DROPS ->
		round++;
		pick_file();
		lock(f);
		page = slot[f];
		if
		:: page != NONE ->
			erase(page, f);
			unlock(f);
			put_release(page, 1)		/* R4: erased first */
		:: else -> unlock(f)
		fi;
		forget()
	:: else -> break
	od
}

init {
	byte n;

	atomic {
		run invalidator();
		do
		:: n < EVICTORS -> run evictor(); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < USERS -> run user(); n++
		:: else -> break
		od;
		n = 0
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	do
	:: n < FILES ->
		if
		:: slot[n] != NONE ->
			d_step {
				assert(word[slot[n]] == 1);		/* claim: no-leak */
				/* claim: in-tree-is-queued */
				assert(queued[slot[n]]);
				/* claim: tree-holds-right-page */
				assert(owner[slot[n]] == n);
				queued[slot[n]] = false;
				word[slot[n]] = FROZEN;
				holder[slot[n]] = POOL
			}
		:: else
		fi;
		n++
	:: else -> break
	od;
	n = 0;
	do
	:: n < PAGES ->
		assert(holder[n] == POOL && frozen(word[n]));	/* claim: no-leak */
		assert(!queued[n] && pins[n] == 0);		/* claim: no-leak */
		n++
	:: else -> break
	od
}
