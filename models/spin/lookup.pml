/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lookup.pml - readers find a page in the tree without a lock, get it, and check the slot again,
 * while owners insert, erase, freeze, unfreeze, evict and put, and pages come back for other
 * indexes and other uses. Does a reader whose second check succeeded ever hold a page that is free,
 * frozen, or not the requested one?
 *
 * PAGES pages, a tree of two slots with one reference for each page in it. An owner performs ROUNDS
 * steps, each any of: insert a page; erase one; take a page for its own use; freeze one in the tree
 * at the tree's reference, and either unfreeze it, or erase and release it. If the pool is empty it
 * does nothing.
 *
 * run full: spin -DPAGES=2 -DROUNDS=2 -DREADERS=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run quick: spin -DPAGES=1 -DROUNDS=2 -DREADERS=1; cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-two: spin -DPAGES=2 -DROUNDS=1 -DREADERS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * The purpose of the second check: the first get succeeds on a page that is in the other slot by
 * then.
 * run foreign: spin -DPAGES=1 -DROUNDS=2 -DREADERS=1 -DREACH_FOREIGN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached foreign
 * A reader whose second check failed is the one that releases the page.
 * run loser-releases: spin -DPAGES=1 -DROUNDS=2 -DREADERS=1 -DREACH_LOSER;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached loser-releases
 */
#define SLOTS 2
#include "ref.inc"

#define NONE 255

#define FREE    0
#define FILE    1
#define PRIVATE 2

byte slot[SLOTS] = NONE;
bool locked;	/* the tree's lock */
byte type[PAGES] = FREE;
byte index[PAGES] = NONE;

byte pins[PAGES];	/* readers whose second check succeeded */
byte taken[3];		/* per type: pages out of the pool */

#define LOCALS REF_LOCALS; byte page = NONE, i, kind, round

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
}

/* Take any page out of the pool: its counter stays frozen, its holder is the caller. */
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

inline set_up(p, t, where)
{
	d_step {
		assert(holder[p] == _pid);		/* claim: set-up-by-holder */
		type[p] = t;
		index[p] = where;
		taken[t]++;
		printf("page %d: taken as type %d\n", p, t)
	}
}

/* R2: release by the page's own type, read after the freeze. */
inline release(p)
{
	kind = type[p];
	d_step {
		printf("page %d: released as type %d\n", p, kind);
		assert(holder[p] == _pid);		/* claim: one-release */
		assert(kind == type[p]);		/* claim: release-by-type */
		assert(taken[kind] > 0);		/* claim: release-by-type */
		assert(slot[0] != p && slot[1] != p);	/* claim: erased-before-release */
		assert(pins[p] == 0);			/* claim: no-pin-on-free */
		taken[kind]--;
		type[p] = FREE;
		index[p] = NONE;
		holder[p] = POOL;
		kind = 0
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

inline pick_index()
{
	if
	:: i = 0
	:: i = 1
	fi
}

proctype owner()
{
	LOCALS;

	do
	:: round < ROUNDS ->
		round++;
		if
		:: /* insert; the new generation begins with the tree's and the owner's reference */
			pick_index();
			alloc();
			if
			:: page != NONE ->
				set_up(page, FILE, i);
				unfreeze(page, 2);
				lock();
				if
				:: slot[i] == NONE ->
					slot[i] = page;
					printf("page %d: in the tree at %d\n", page, i);
					unlock();
					put_release(page, 1)
				:: else ->
					/* Never visible; but a late getter may have a reference. */
					unlock();
					put_release(page, 2)
				fi
			:: else
			fi
		:: /* erase; R4: out of the slot first, then the tree's reference */
			pick_index();
			lock();
			page = slot[i];
			if
			:: page != NONE ->
				slot[i] = NONE;
				printf("page %d: erased\n", page);
				unlock();
				put_release(page, 1)
			:: else -> unlock()
			fi
		:: /* for its own use */
			alloc();
			if
			:: page != NONE ->
				set_up(page, PRIVATE, NONE);
				unfreeze(page, 1);
				put_release(page, 1)
			:: else
			fi
		:: /* freeze: only the tree has a reference */
			pick_index();
			lock();
			page = slot[i];
			if
			:: page != NONE ->
				try_freeze(page, 1);
				if
				:: won ->
					/* claim: freeze-excludes-pins */
					assert(pins[page] == 0);
					if
					:: unfreeze(page, 1);
						unlock()
					:: slot[i] = NONE;
						unlock();
						release(page)
					fi
				:: else -> unlock()
				fi
			:: else -> unlock()
			fi
		fi;
		d_step { page = NONE; i = 0; won = false }
	:: else -> break
	od
}

proctype reader()
{
	LOCALS;
	byte found;

	do
	:: round < ROUNDS ->
		round++;
		pick_index();
		page = slot[i];					/* 1: find */
		if
		:: page != NONE ->
			try_get(page, 1);			/* 2: get */
			if
			:: ok ->
				d_step {			/* 3: check again */
					found = slot[i];
					ok = found == page;
					printf("page %d: checked again at %d, found %d\n",
						page, i, found);
					if
					:: ok ->
						pins[page]++;
						/* claim: holder-of-live-page */
						assert(holder[page] == LIVE);
						/* claim: holder-of-right-page */
						assert(type[page] == FILE && index[page] == i)
					:: else ->
#ifdef REACH_FOREIGN
						/* reached: foreign */
						assert(type[page] != FILE || index[page] != 1 - i);
#endif
						skip
					fi;
					found = 0
				}
				if
				:: ok ->
					d_step {		/* use */
						/* claim: holder-of-live-page */
						assert(holder[page] == LIVE);
						/* claim: holder-of-right-page */
						assert(type[page] == FILE && index[page] == i);
						pins[page]--;
						ok = false
					};
					put_release(page, 1)
				:: else ->
					put_release(page, 1);
#ifdef REACH_LOSER
					assert(!won)	/* reached: loser-releases */
#endif
				fi
			:: else
			fi
		:: else
		fi;
		d_step { page = NONE; i = 0; won = false; ok = false }
	:: else -> break
	od
}

init {
	byte n;

	atomic {
		run owner();
		run owner();
		do
		:: n < READERS -> run reader(); n++
		:: else -> break
		od;
		n = 0
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	/* The pages left in the tree are freed now, as when the file is closed. */
	do
	:: n < SLOTS ->
		if
		:: slot[n] != NONE ->
			d_step {
				assert(word[slot[n]] == 1);	/* claim: no-leak */
				/* claim: tree-holds-right-page */
				assert(type[slot[n]] == FILE && index[slot[n]] == n);
				word[slot[n]] = FROZEN;
				holder[slot[n]] = POOL;
				taken[FILE]--
			}
		:: else
		fi;
		n++
	:: else -> break
	od;
	n = 0;
	do
	:: n < PAGES ->
		assert(holder[n] == POOL && frozen(word[n]) && pins[n] == 0);	/* claim: no-leak */
		n++
	:: else -> break
	od;
	assert(taken[FILE] == 0 && taken[PRIVATE] == 0)		/* claim: no-leak */
}
