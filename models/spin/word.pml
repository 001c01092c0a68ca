/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * word.pml - one word for each page of a file holds version, frame and flags; it is the only thing
 * that a hit loads besides the data. Is a copy between two loads of the same word complete, of the
 * requested page, and no older than an invalidation or a write that had finished when the read
 * began? Is a folio that is pinned between two loads of the same word that of the page? Does a page
 * leak, or stay without its word?
 *
 * One file of two pages. The contents of a page are two halves; each records the page of the file
 * and a state of its contents. A filler fills FILLS times, and may fail; a writer writes WRITES
 * times in place, under the folio's lock; an evictor tries EVICTS times, and with TOUCHES first
 * marks the word, so that readers report to it; an eraser changes the file behind the cache and
 * invalidates, DROPS times. Copiers and pinners read once.
 *
 * run full: spin -DPAGES=1 -DFILLS=2 -DWRITES=1 -DEVICTS=0 -DDROPS=1 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * deep all: spin -DPAGES=1 -DFILLS=2 -DWRITES=1 -DEVICTS=1 -DDROPS=1 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run evict: spin -DPAGES=1 -DFILLS=2 -DWRITES=0 -DEVICTS=1 -DDROPS=1 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run writes: spin -DPAGES=1 -DFILLS=2 -DWRITES=2 -DEVICTS=1 -DDROPS=0 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run pins: spin -DPAGES=1 -DFILLS=2 -DWRITES=1 -DEVICTS=1 -DDROPS=0 -DCOPIERS=0 -DPINNERS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run two-pages: spin -DPAGES=2 -DFILLS=2 -DWRITES=1 -DEVICTS=0 -DDROPS=1 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run touch: spin -DPAGES=1 -DFILLS=2 -DWRITES=1 -DEVICTS=1 -DDROPS=0 -DCOPIERS=1 -DPINNERS=0
 *     -DTOUCHES;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DPAGES=1 -DFILLS=2 -DWRITES=1 -DEVICTS=1 -DDROPS=0 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-drop: spin -DPAGES=1 -DFILLS=2 -DWRITES=0 -DEVICTS=0 -DDROPS=1 -DCOPIERS=1 -DPINNERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-late: spin -DPAGES=2 -DFILLS=2 -DWRITES=1 -DEVICTS=0 -DDROPS=1 -DCOPIERS=0 -DPINNERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-pins: spin -DPAGES=1 -DFILLS=2 -DWRITES=0 -DEVICTS=1 -DDROPS=1 -DCOPIERS=0 -DPINNERS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-touch: spin -DPAGES=1 -DFILLS=2 -DWRITES=0 -DEVICTS=1 -DDROPS=1 -DCOPIERS=1
 *     -DPINNERS=0 -DTOUCHES;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * Wrong copies do occur, and are not accepted: torn by a write; of another page.
 * run torn: spin -DPAGES=1 -DFILLS=1 -DWRITES=1 -DEVICTS=0 -DDROPS=0 -DCOPIERS=1 -DPINNERS=0
 *     -DREACH_TORN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached torn
 * run foreign: spin -DPAGES=1 -DFILLS=2 -DWRITES=0 -DEVICTS=1 -DDROPS=0 -DCOPIERS=1 -DPINNERS=0
 *     -DREACH_FOREIGN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached foreign
 * A write ends on a page that has been invalidated, and whose place another page has taken.
 * run too-late: spin -DPAGES=2 -DFILLS=2 -DWRITES=1 -DEVICTS=0 -DDROPS=1 -DCOPIERS=0 -DPINNERS=0
 *     -DREACH_TOO_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached too-late
 */
#include "ref.inc"
#include "word.inc"

#define OTHER 99	/* contents that belong to no page of the file */

#define contents(i)  ((i) + 2 * device[i])
#define index_of(c)  ((c) & 1)
#define state_of(c)  ((c) >> 1)

byte half0[PAGES] = OTHER;
byte half1[PAGES] = OTHER;
byte device[2];		/* states of the pages on the device */
byte finished[2];	/* reads that begin now see at least these states */
bool folio_locked[PAGES];

byte pins[PAGES];

#define LOCALS WORD_LOCALS; byte round

inline write(p, half, what)
{
	d_step {
		assert(holder[p] == LIVE && refs[p] > 0);	/* claim: write-with-reference */
		half = what
	}
}

inline finish(state)
{
	d_step {
		if
		:: finished[i] < state -> finished[i] = state
		:: else
		fi
	}
}

/* Back to the pool, frozen. */
inline give_back(p)
{
	d_step {
		printf("page %d: back in the pool\n", p);
		assert(holder[p] == _pid);			/* claim: one-release */
		/* claim: erased-before-release */
		assert(words[0] == EMPTY || frame_of(words[0]) != p);
		/* claim: erased-before-release */
		assert(words[1] == EMPTY || frame_of(words[1]) != p);
		assert(pins[p] == 0);				/* claim: no-pin-on-free */
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

/*
 * A pin by count. The version must be even: valid, also if an evictor holds the word or wants to
 * hear of reads. The result is in ok; page is set in any case.
 */
inline pin()
{
	ok = false;
	seen = words[i];				/* 1: load the word */
	if
	:: seen != EMPTY && !odd(version_of(seen)) ->
		page = frame_of(seen);
		try_get(page, 1);			/* 2: one add */
		if
		:: ok ->
			ok = (words[i] >> 2) == (seen >> 2);	/* 3: the same word again? */
			if
			:: ok
			:: else -> put_release(page)
			fi
		:: else
		fi
	:: else
	fi
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
		:: words[i] == EMPTY -> alloc()
		:: else
		fi;
		if
		:: page != NONE ->
			version_write_begin(page);
			unfreeze(page, 2);
			lock();
			d_step {
				/* The only filler. */
				assert(words[i] == EMPTY);	/* claim: one-word-per-page */
				owner[page] = i;
				words[i] = make(version[page], page, 0)
			};
			unlock();
			read = contents(i);
			write(page, half0[page], read);
			write(page, half1[page], read);
			if
			:: word_settle(page)		/* fails if the page was dropped */
			:: lock();			/* the read failed */
				ok = owner[page] == i;
				if
				:: ok ->
					words[i] = EMPTY;
					owner[page] = NONE
				:: else
				fi;
				unlock();
				if
				:: ok -> put_release(page)
				:: else
				fi
			fi;
			read = 0;
			put_release(page)
		:: else
		fi;
		forget()
	:: else -> break
	od
}

/* In place, under the folio's lock. The device gets the new state, too, so no page is dirty. */
proctype writer()
{
	LOCALS;
	byte state;

	do
	:: round < WRITES ->
		round++;
		pick_index();
		pin();
		if
		:: ok ->
			atomic { !folio_locked[page] -> folio_locked[page] = true };
			if
			:: owner[page] == i ->
				word_break(page);
				d_step { device[i]++; state = device[i] };
				write(page, half0[page], i + 2 * state);
				write(page, half1[page], i + 2 * state);
				word_settle(page);
				lock();
#ifdef REACH_TOO_LATE
				/* reached: too-late */
				assert(words[i] == EMPTY || frame_of(words[i]) == page);
#endif
				/* Otherwise the write is repeated. */
				if
				:: owner[page] == i -> finish(state)
				:: else
				fi;
				unlock();
				state = 0
			:: else
			fi;
			folio_locked[page] = false;
			put_release(page)
		:: else
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
		pick_index();
#ifdef TOUCHES
		/* Asks the readers to report, and evicts what nothing has reported. */
		seen = words[i];
		if
		:: flags_of(seen) == PRESENT -> word_cas(i, seen, seen + TOUCH)
		:: else
		fi;
#endif
		seen = words[i];
		if
		:: seen != EMPTY ->
			page = frame_of(seen);
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
					/* claim: freeze-excludes-pins */
					assert(pins[page] == 0);
					version_write_begin(page);
					words[i] = EMPTY;
					owner[page] = NONE;
					unlock();
					give_back(page)
				:: else ->
					unlock();
					put_release(page)
				fi
			:: else
			fi
		:: else
		fi;
		forget()
	:: else -> break
	od
}

/* Changes a page of the file on the device, then invalidates it. */
proctype eraser()
{
	LOCALS;
	byte state;

	do
	:: round < DROPS ->
		round++;
		pick_index();
		d_step { device[i]++; state = device[i] };
		lock();
		seen = words[i];
		if
		:: seen != EMPTY ->
			page = frame_of(seen);
			words[i] = EMPTY;
			owner[page] = NONE;
			unlock();
			put_release(page)
		:: else -> unlock()
		fi;
		finish(state);
		state = 0;
		forget()
	:: else -> break
	od
}

proctype pinner()
{
	LOCALS;

	pick_index();
	pin();
	if
	:: ok ->
		d_step {
			pins[page]++;
			/* claim: holder-of-right-page */
			assert(holder[page] == LIVE && index_of(half0[page]) == i);
#if WRITES == 0
			assert(half0[page] == half1[page])	/* claim: pin-is-filled */
#endif
		};
		d_step {
			/* even if it has left the file since */
			/* claim: holder-of-right-page */
			assert(holder[page] == LIVE && index_of(half0[page]) == i);
			pins[page]--
		};
		put_release(page)
	:: else
	fi;
	forget()
}

proctype copier()
{
	byte page = NONE, i, floor, seen, copied0, copied1;
	bool won;

	atomic { pick_index(); floor = finished[i] };
	seen = words[i];				/* 1: load the word */
#ifdef TOUCHES
	if
	:: flags_of(seen) == PRESENT + TOUCH ->		/* the slow way: report */
		word_cas(i, seen, seen - TOUCH);
		seen = words[i]
	:: else
	fi;
#endif
	if
	:: flags_of(seen) == PRESENT ->
		page = frame_of(seen);
		copied0 = half0[page];			/* 2: copy */
		copied1 = half1[page];
#ifdef REACH_TORN
		assert(copied0 == copied1);		/* reached: torn */
#endif
#ifdef REACH_FOREIGN
		/* reached: foreign */
		assert(!(copied0 == copied1 && index_of(copied0) != i));
#endif
		if
		:: words[i] == seen ->			/* 3: the same word again? */
			printf("page %d: copied %d and %d at %d\n", page, copied0, copied1, i);
			assert(copied0 == copied1);	/* claim: copy-is-complete */
			/* claim: copy-is-right-page */
			assert(copied0 != OTHER && index_of(copied0) == i);
			assert(state_of(copied0) >= floor);	/* claim: copy-is-not-older */
		:: else
		fi
	:: else
	fi;
	d_step { page = NONE; i = 0; floor = 0; seen = 0; copied0 = 0; copied1 = 0; won = false }
}

init {
	byte n;

	atomic {
		run filler();
#if WRITES > 0
		run writer();
#endif
#if EVICTS > 0
		run evictor();
#endif
#if DROPS > 0
		run eraser();
#endif
#if PINNERS > 0
		run pinner();
#endif
#if COPIERS > 0
		run copier();
#endif
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	do
	:: n < 2 ->
		if
		:: words[n] != EMPTY ->
			d_step {
				assert(word[frame_of(words[n])] == 1);	/* claim: no-leak */
				/* claim: word-of-right-page */
				assert(owner[frame_of(words[n])] == n);
				/* claim: settled-at-the-end */
				assert(flags_of(words[n]) & PRESENT);
				/* claim: settled-at-the-end */
				assert(version_of(words[n]) == version[frame_of(words[n])]);
				word[frame_of(words[n])] = FROZEN;
				holder[frame_of(words[n])] = POOL
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
