/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.pml - a thread pins a page by the page's address in a slot of its own and does not touch
 * the count. An evictor marks the page as held, and a thread that drops the page clears its entry
 * in the tree; then they issue one membarrier, and scan the slots. Is a page ever taken, or used
 * again, while it is pinned? Is a published pin one of the requested page? Does a page leak, or
 * stay held? docs/words.md has the protocol.
 *
 * One file of two pages, one page frame, a slot for each of PINNERS threads. A store to a slot goes
 * to a buffer first and becomes visible at any later moment, but not after a membarrier. So the
 * model has the one reordering of x86 that matters: the second look may come before the
 * publication. Other memory orders are in relacy/publish.cpp.
 *
 * A pinner pins ROUNDS times, if its slot is free. It unpins, converts the pin to a counted one, or
 * with RECEIVER hands it over; then its slot block goes to the next thread. A user takes a counted
 * pin. The filler fills FILLS times, the evictor tries EVICTS times, the dropper drops DROPS times,
 * the writer changes the contents WRITES times. With SECOND there are two evictors.
 *
 * run full: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=2 -DEVICTS=1 -DDROPS=1 -DUSERS=0 -DWRITES=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run two: spin -DPINNERS=2 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run writes: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run users: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=2 -DEVICTS=1 -DDROPS=0 -DUSERS=1 -DWRITES=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run hands: spin -DPINNERS=1 -DROUNDS=2 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=0
 *     -DRECEIVER;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run all: spin -DPINNERS=1 -DROUNDS=2 -DFILLS=2 -DEVICTS=1 -DDROPS=1 -DUSERS=0 -DWRITES=0
 *     -DRECEIVER;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run hands-two: spin -DPINNERS=2 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=0
 *     -DRECEIVER;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=2 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-drop: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=1 -DUSERS=0 -DWRITES=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-refill: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=2 -DEVICTS=0 -DDROPS=1 -DUSERS=0
 *     -DWRITES=0;
 *     cc -DSAFETY; pan -m100000 -w22; expect clean
 *
 * run evictors: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=1
 *     -DSECOND;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 *
 * An evictor finds the page published; a page goes to the limbo list; a page is written while it is
 * held; a slot is still in use when the next thread gets the block; a publication is called off.
 * run busy: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=0
 *     -DREACH_BUSY;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached busy
 * run limbo: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=1 -DUSERS=0 -DWRITES=0
 *     -DREACH_LIMBO;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached limbo
 * run written: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=1
 *     -DREACH_WRITTEN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached written
 * run occupied: spin -DPINNERS=1 -DROUNDS=2 -DFILLS=1 -DEVICTS=0 -DDROPS=0 -DUSERS=0 -DWRITES=0
 *     -DRECEIVER -DREACH_OCCUPIED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached occupied
 * run called-off: spin -DPINNERS=1 -DROUNDS=1 -DFILLS=1 -DEVICTS=1 -DDROPS=0 -DUSERS=0 -DWRITES=0
 *     -DREACH_CALLED_OFF;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached called-off
 */
#define PAGES 1
#include "ref.inc"

#define EMPTY 0		/* a slot's value, and an entry; else a page's number and one */
#define NONE  255
#define odd(v) (((v) & 1) == 1)

byte entry[2] = EMPTY;	/* of the two pages of the file, in the tree */
bool locked;		/* the tree's lock */
byte owner[PAGES] = NONE;	/* the index in the tree; NONE when it has left the tree */
byte version[PAGES] = 1;	/* with held, one word */
bool held[PAGES];	/* by a freezer: no pin is published */

byte slot[PINNERS] = EMPTY;
chan buffer[PINNERS] = [1] of { byte };	/* the stores of slot's owner that are not visible yet */
chan mail = [1] of { byte, byte, byte };	/* handed over: page, its index, slot */
bool limbo[PAGES];	/* the list keeps the tree's reference; it has its own lock */

byte index[PAGES] = NONE;	/* the index that the page was filled for */
bool filled[PAGES];	/* the page has the contents */
byte pins[PAGES];	/* of both kinds */

#ifdef RECEIVER
#define SERVERS 3	/* memory, receiver, init */
#else
#define SERVERS 2
#endif

#define LOCALS REF_LOCALS; byte page = NONE, i, seen, round

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
}

inline pick_index()
{
	if
	:: i = 0
	:: i = 1
	fi
}

/* By a thread that has p locked or exclusively. Idempotent, and held stays as it is. */
inline version_write_begin(p)
{
	version[p] = version[p] | 1
}

inline version_write_end(p)
{
	d_step { version[p]++; assert(version[p] < 32) }	/* claim: versions-fit */
}

/* The memory: makes stores visible. */
active proctype memory()
{
end:
	do
	:: buffer[0]?slot[0]
#if PINNERS > 1
	:: buffer[1]?slot[1]
#endif
	od
}

/* Each thread executes a full barrier at some moment of the call. */
inline membarrier()
{
	empty(buffer[0]);
#if PINNERS > 1
	empty(buffer[1])
#endif
}

/* The result is in found. */
inline scan(p)
{
	found = slot[0] == p + 1;
#if PINNERS > 1
	found = found || slot[1] == p + 1
#endif
}

inline give_back(p)
{
	d_step {
		printf("page %d: back in the pool\n", p);
		assert(holder[p] == _pid);			/* claim: one-release */
		/* claim: erased-before-release */
		assert(entry[0] != p + 1 && entry[1] != p + 1);
		assert(pins[p] == 0);				/* claim: no-pin-on-free */
		assert(!held[p]);				/* claim: hold-ends */
		index[p] = NONE;
		filled[p] = false;
		holder[p] = POOL
	}
}

inline put_release(p)
{
	put(p, 1);
	if
	:: won -> version_write_begin(p); give_back(p)
	:: else
	fi
}

inline forget()
{
	d_step { page = NONE; i = 0; seen = 0; ok = false; won = false }
}

/* By count: pin_begin and pin_holds of src/read/lookup.h. The result is in ok. */
inline pin()
{
	ok = false;
	seen = entry[i];
	if
	:: seen != EMPTY ->
		page = seen - 1;
		try_get(page, 1);
		if
		:: ok ->
			ok = entry[i] == seen;
			if
			:: ok -> ok = !odd(version[page])
			:: else
			fi;
			if
			:: ok
			:: else -> put_release(page)
			fi
		:: else
		fi
	:: else
	fi
}

/* A page is pinned: it is the requested one, and nothing takes it until unpinned. */
inline pinned()
{
	d_step {
		pins[page]++;
		/* claim: holder-of-right-page */
		assert(holder[page] == LIVE && index[page] == i);
		assert(filled[page])				/* claim: pin-of-a-filled-page */
	}
}

inline unpinned()
{
	d_step {
		/* claim: holder-of-right-page */
		assert(holder[page] == LIVE && index[page] == i);
		pins[page]--
	}
}

proctype pinner(byte s)
{
	LOCALS;
	bool published, handed;

	do
	:: round < ROUNDS ->
		round++;
		pick_index();
		if
		:: handed && slot[s] != EMPTY ->
#ifdef REACH_OCCUPIED
			assert(false);			/* reached: occupied */
#endif
			skip
		:: else ->
			handed = false;
			if				/* 1: what the tree has for the page */
			:: entry[i] != EMPTY -> page = 0
			:: else
			fi;
			if				/* 2: its version: even, and not held? */
			:: page != NONE ->
				d_step { seen = version[page]; ok = !odd(seen) && !held[page] }
			:: else
			fi;
			if
			:: ok ->
				buffer[s]!page + 1;	/* 3: publish */
				ok = entry[i] == page + 1;	/* 4: still there? */
				if				/* 5: the same? */
				:: ok -> ok = version[page] == seen && !held[page]
				:: else
				fi;
				if
				:: ok -> published = true; pinned()
				:: else ->
#ifdef REACH_CALLED_OFF
					assert(false);	/* reached: called-off */
#endif
					buffer[s]!EMPTY
				fi
			:: else
			fi
		fi;
		if
		:: published ->
			if
			:: /* unpin */
				unpinned();
				buffer[s]!EMPTY
			:: /* convert, then put the counted pin */
				get(page, 1);
				buffer[s]!EMPTY;
				unpinned();
				put_release(page)
#ifdef RECEIVER
			:: /* hand over, by a store that comes after the publication */
				empty(buffer[s]);
				handed = true;
				mail!page, i, s
#endif
			fi
		:: else
		fi;
		published = false;
		forget()
	:: else -> break
	od
}

#ifdef RECEIVER
/* Has the pins that were handed over, and puts them. */
active proctype receiver()
{
	byte page = NONE, i, s;

end:
	do
	:: mail?page, i, s ->
		unpinned();
		slot[s] = EMPTY;
		d_step { page = NONE; i = 0; s = 0 }
	od
}
#endif

/* Pins by count. */
proctype user()
{
	LOCALS;

	pick_index();
	pin();
	if
	:: ok -> pinned(); unpinned(); put_release(page)
	:: else
	fi;
	forget()
}

proctype filler()
{
	LOCALS;

	do
	:: round < FILLS ->
		round++;
		pick_index();
		d_step {
			if
			:: entry[i] == EMPTY && holder[0] == POOL -> page = 0; holder[0] = _pid
			:: else
			fi
		};
		if
		:: page != NONE ->
			d_step { version_write_begin(page); index[page] = i };
			unfreeze(page, 2);
			lock();
			d_step { owner[page] = i; entry[i] = page + 1 };
			unlock();
			filled[page] = true;
			version_write_end(page);
			put_release(page)
		:: else
		fi;
		forget()
	:: else -> break
	od
}

/* Has the folio locked, so it is the only one that changes it. */
proctype writer()
{
	LOCALS;

	do
	:: round < WRITES ->
		round++;
		pick_index();
		pin();
		if
		:: ok ->
#ifdef REACH_WRITTEN
			assert(!held[page]);		/* reached: written */
#endif
			version_write_begin(page);
			version_write_end(page);
			put_release(page)
		:: else
		fi;
		forget()
	:: else -> break
	od
}

/* One look at the limbo list. The entry was cleared before a membarrier: no other is needed. */
inline limbo_look()
{
	d_step { ok = limbo[0]; limbo[0] = false };
	if
	:: ok ->
		scan(0);
		if
		:: found -> limbo[0] = true
		:: else -> put_release(0)
		fi
	:: else
	fi;
	ok = false
}

proctype evictor()
{
	LOCALS;
	bool found;

	do
	:: round < EVICTS ->
		round++;
		limbo_look();
		pick_index();
		/* It isolates the folio. */
		if
		:: entry[i] != EMPTY -> page = 0; try_get(page, 1)
		:: else
		fi;
		if
		:: ok ->
			/* A: hold, do not freeze */
			d_step { won = !held[page]; held[page] = true };
			if
			:: won ->
				membarrier();			/* B */
				scan(page);			/* C */
#ifdef REACH_BUSY
				assert(!found);			/* reached: busy */
#endif
				won = false;
				if
				:: !found ->
					lock();
					/* D: held since before the scan, so it is still true */
					if
					:: owner[page] == i -> try_freeze(page, 2)
					:: else
					fi;
					if
					:: won ->
						/* claim: freeze-excludes-pins */
						assert(pins[page] == 0);
						version_write_begin(page);
						entry[i] = EMPTY;
						owner[page] = NONE
					:: else
					fi;
					unlock()
				:: else
				fi;
				held[page] = false;		/* E: before the page is free */
				if
				:: won -> give_back(page)
				:: else -> put_release(page)
				fi
			:: else -> put_release(page)
			fi
		:: else
		fi;
		found = false;
		forget()
	:: else -> break
	od
}

proctype dropper()
{
	LOCALS;
	bool found;

	do
	:: round < DROPS ->
		round++;
		pick_index();
		lock();
		if
		:: entry[i] != EMPTY ->
			page = entry[i] - 1;
			entry[i] = EMPTY;
			owner[page] = NONE;
			unlock();
			membarrier();
			scan(page);
			if
			:: found ->
#ifdef REACH_LIMBO
				assert(false);			/* reached: limbo */
#endif
				limbo[page] = true
			:: else -> put_release(page)
			fi
		:: else -> unlock()
		fi;
		found = false;
		forget()
	:: else -> break
	od
}

init {
	LOCALS;
	bool found;
	byte n;

	atomic {
		run filler();
		run pinner(0);
#if PINNERS > 1
		run pinner(1);
#endif
#if USERS > 0
		run user();
#endif
#if WRITES > 0
		run writer();
#endif
#if EVICTS > 0
		run evictor();
#endif
#ifdef SECOND
		run evictor();
#endif
#if DROPS > 0
		run dropper();
#endif
	}
	timeout;
	assert(_nr_pr == SERVERS);				/* claim: no-deadlock */
	/* No pin is left: the next look at the list puts the page. */
	limbo_look();
	assert(!limbo[0]);					/* claim: no-leak */
	do
	:: n < 2 ->
		if
		:: entry[n] != EMPTY ->
			d_step {
				assert(word[0] == 1);			/* claim: no-leak */
				/* claim: entry-of-right-page */
				assert(owner[0] == n);
				/* claim: settled-at-the-end */
				assert(!odd(version[0]));
				word[0] = FROZEN;
				holder[0] = POOL
			}
		:: else
		fi;
		n++
	:: else -> break
	od;
	assert(!held[0]);					/* claim: hold-ends */
	assert(holder[0] == POOL && frozen(word[0]) && pins[0] == 0)	/* claim: no-leak */
}
