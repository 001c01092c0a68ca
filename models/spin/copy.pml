/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * copy.pml - a reader copies a page without a reference and without writing anything, and accepts
 * the copy if slot and version did not change. In the meantime the page is filled, frozen, evicted,
 * invalidated, put by a late holder, overwritten by another owner, and filled again for another
 * offset. Does the reader ever accept a copy that is torn, of another page, or older than an
 * invalidation that had finished when the read began?
 *
 * One file of two pages. The contents of a page are two halves; each records which page of the file
 * it is, and in which state of the device. The writer changes the device and then invalidates, as
 * folio_file_invalidate requires.
 *
 * run full: spin -DPAGES=2 -DFILLS=2 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=1 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run refills: spin -DPAGES=1 -DFILLS=3 -DEVICTS=2 -DCOPIERS=1 -DSCRIBBLERS=0 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run pins: spin -DPAGES=1 -DFILLS=2 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=0 -DPINNERS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DPAGES=1 -DFILLS=2 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=0 -DPINNERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-late: spin -DPAGES=1 -DFILLS=1 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=1 -DPINNERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-pins: spin -DPAGES=1 -DFILLS=1 -DEVICTS=1 -DCOPIERS=0 -DSCRIBBLERS=0 -DPINNERS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-refills: spin -DPAGES=1 -DFILLS=3 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=0 -DPINNERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * Wrong copies do occur, and are not accepted: torn by a refill; of another page.
 * run torn: spin -DPAGES=1 -DFILLS=2 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=1 -DPINNERS=0
 *     -DREACH_TORN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached torn
 * run foreign: spin -DPAGES=1 -DFILLS=2 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=1 -DPINNERS=0
 *     -DREACH_FOREIGN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached foreign
 * A copy of a page that was invalidated during the read is accepted: the read began before the
 * invalidation finished.
 * run overlapping: spin -DPAGES=1 -DFILLS=2 -DEVICTS=1 -DCOPIERS=1 -DSCRIBBLERS=1 -DPINNERS=0
 *     -DREACH_OLD;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached overlapping
 */
#include "ref.inc"

#define NONE  255
#define OTHER 99	/* contents that belong to no page of the file */

#define contents(i)  ((i) + 2 * device)
#define index_of(c)  ((c) & 1)
#define state_of(c)  ((c) >> 1)
#define odd(v)       (((v) & 1) == 1)

byte slot[2] = NONE;
bool locked;
byte version[PAGES] = 1;
byte owner[PAGES] = NONE;	/* the index in the tree; NONE when it has left the tree */
byte half0[PAGES] = OTHER;
byte half1[PAGES] = OTHER;
byte device;		/* state of the file on the device */
byte invalidated;	/* reads that begin now see at least this state */

byte pins[PAGES];

#define LOCALS REF_LOCALS; byte page = NONE, i, round

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
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

inline write(p, half, what)
{
	d_step {
		assert(holder[p] == LIVE && refs[p] > 0);	/* claim: write-with-reference */
		half = what
	}
}

/* Idempotent: odd stays odd. Called by the process that holds the page frozen, or by its filler. */
inline version_write_begin(p)
{
	d_step { version[p] = version[p] | 1; printf("page %d: version %d\n", p, version[p]) }
}

inline version_write_end(p)
{
	d_step { version[p]++; printf("page %d: version %d\n", p, version[p]) }
}

/* Back to the pool, frozen. */
inline give_back(p)
{
	d_step {
		printf("page %d: back in the pool\n", p);
		assert(holder[p] == _pid);			/* claim: one-release */
		assert(slot[0] != p && slot[1] != p);		/* claim: erased-before-release */
		assert(pins[p] == 0);				/* claim: no-pin-on-free */
		holder[p] = POOL
	}
}

/* By the winner of a put: odd before another process can take the page and write to it. */
inline release(p)
{
	version_write_begin(p);
	give_back(p)
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

inline forget()
{
	d_step { page = NONE; i = 0; ok = false; won = false }
}

proctype filler()
{
	LOCALS;
	byte read;

	do
	:: round < FILLS ->
		round++;
		pick_index();
		if
		:: slot[i] == NONE -> alloc()
		:: else
		fi;
		if
		:: page != NONE ->
			owner[page] = i;
			version_write_begin(page);
			unfreeze(page, 2);
			lock();
			/* The only filler; in lookup.pml and evict.pml two store in one slot. */
			assert(slot[i] == NONE);	/* claim: tree-holds-right-page */
			slot[i] = page;
			unlock();
			read = contents(i);
			write(page, half0[page], read);
			write(page, half1[page], read);
			printf("page %d: filled, %d\n", page, read);
			version_write_end(page);
			read = 0;
			put_release(page, 1)
		:: else
		fi;
		forget()
	:: else -> break
	od
}

/* Takes pages for its own use and writes to them; ignores versions. */
proctype scribbler()
{
	LOCALS;

	alloc();
	if
	:: page != NONE ->
		unfreeze(page, 1);
		write(page, half0[page], OTHER);
		write(page, half1[page], OTHER);
		put_release(page, 1)
	:: else
	fi;
	forget()
}

proctype evictor()
{
	LOCALS;

	do
	:: round < EVICTS ->
		round++;
		pick_index();
		page = slot[i];
		/* Including a page that is not queued yet: it is being filled. */
		if
		:: page != NONE ->
			try_get(page, 1);
			if
			:: ok ->
				lock();
				won = false;
				i = owner[page];
				if
				:: i != NONE -> try_freeze(page, 2)
				:: else
				fi;
				if
				:: won ->
					/* The version keeps copying readers out, not the freeze. */
					version_write_begin(page);
					slot[i] = NONE;
					owner[page] = NONE;
					unlock();
					give_back(page)
				:: else ->
					unlock();
					put_release(page, 1)
				fi
			:: else
			fi
		:: else
		fi;
		forget()
	:: else -> break
	od
}

/* Changes the file on the device, then invalidates. */
proctype writer()
{
	LOCALS;
	byte state;

	d_step { device++; state = device };
	do
	:: i < 2 ->
		lock();
		page = slot[i];
		if
		:: page != NONE ->
			slot[i] = NONE;
			owner[page] = NONE;
			unlock();
			printf("page %d: invalidated\n", page);
			put_release(page, 1)
		:: else -> unlock()
		fi;
		i++
	:: else -> break
	od;
	invalidated = state;
	state = 0;
	forget()
}

proctype pinner()
{
	LOCALS;
	byte saw = NONE;

	pick_index();
	page = slot[i];
	if
	:: page != NONE ->
		try_get(page, 1);
		if
		:: ok ->
			ok = slot[i] == page;
			/* Instead of the flags, which are set a little later (wait.pml). */
			ok = ok && !odd(version[page]);
			d_step {
				if
				:: ok ->
					pins[page]++;
					saw = half0[page];
					/* claim: holder-of-right-page */
					assert(index_of(saw) == i && half1[page] == saw)
				:: else
				fi
			};
			if
			:: ok ->
				d_step {
					/* even if it has left the file since */
					/* claim: pin-keeps-contents */
					assert(half0[page] == saw && half1[page] == saw);
					pins[page]--;
					saw = NONE
				}
			:: else
			fi;
			put_release(page, 1)
		:: else
		fi
	:: else
	fi;
	forget()
}

proctype copier()
{
	byte page = NONE, i, floor, before, copied0, copied1;

	atomic { floor = invalidated; pick_index() };
	page = slot[i];					/* 1 */
	if
	:: page != NONE ->
		before = version[page];			/* 2: note the version */
		if
		:: !odd(before) && slot[i] == page ->	/* 3: the right page: check again */
			copied0 = half0[page];		/* 4: copy */
			copied1 = half1[page];
#ifdef REACH_TORN
			assert(copied0 == copied1);	/* reached: torn */
#endif
#ifdef REACH_FOREIGN
			assert(!(copied0 == copied1 && copied0 != OTHER &&
				index_of(copied0) != i));	/* reached: foreign */
#endif
			if
			:: version[page] == before ->	/* 6: version unchanged? */
				printf("page %d: copied %d and %d at %d, version %d\n",
					page, copied0, copied1, i, before);
				assert(copied0 == copied1);	/* claim: copy-is-complete */
				/* claim: copy-is-right-page */
				assert(copied0 != OTHER && index_of(copied0) == i);
				/* claim: copy-is-not-older */
				assert(state_of(copied0) >= floor);
#ifdef REACH_OLD
				/* reached: overlapping */
				assert(state_of(copied0) == invalidated)
#endif
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	d_step { page = NONE; i = 0; floor = 0; before = 0; copied0 = 0; copied1 = 0 }
}

init {
	byte n;

	atomic {
		run filler();
		run evictor();
		run writer();
		do
		:: n < SCRIBBLERS -> run scribbler(); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < PINNERS -> run pinner(); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < COPIERS -> run copier(); n++
		:: else -> break
		od;
		n = 0
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	do
	:: n < 2 ->
		if
		:: slot[n] != NONE ->
			d_step {
				assert(word[slot[n]] == 1);	/* claim: no-leak */
				assert(owner[slot[n]] == n);	/* claim: tree-holds-right-page */
				assert(!odd(version[slot[n]]));	/* claim: filled-is-even */
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
		assert(holder[n] == POOL && frozen(word[n]) && pins[n] == 0);	/* claim: no-leak */
		n++
	:: else -> break
	od
}
