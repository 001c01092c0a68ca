/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * split.pml - a folio of two pages is frozen, split into two folios of one page, and unfrozen for
 * its readers, while it is pinned, copied, erased, and its pages are reused. Does a reader that
 * found the large folio ever take the other half for what it was before?
 *
 * One file of two pages, two page frames. The descriptor of the large folio is page 0's; page 1 is
 * inside it: frozen, version odd. A tree entry includes the order, so that the second check detects
 * a split. A filler performs ROUNDS steps, each any of: insert a folio of one or of two pages, or
 * take a page for its own use and overwrite it. The splitter tries once, the eraser erases ERASES
 * times, readers read once: pinned, or by a copy whose version is checked.
 *
 * run full: spin -DROUNDS=1 -DERASES=2 -DPINNERS=1 -DCOPIERS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * deep wide: spin -DROUNDS=2 -DERASES=2 -DPINNERS=1 -DCOPIERS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run quick: spin -DROUNDS=1 -DERASES=1 -DPINNERS=1 -DCOPIERS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-copy: spin -DROUNDS=1 -DERASES=1 -DPINNERS=0 -DCOPIERS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * A split succeeds during a copy, and the half has another owner by the time it is copied:
 * run overtaken: spin -DROUNDS=1 -DERASES=1 -DPINNERS=0 -DCOPIERS=1 -DREACH_OVERTAKEN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached overtaken
 * A reader finds the large folio and gets it after the split: the second check detects it.
 * run too-late: spin -DROUNDS=1 -DERASES=1 -DPINNERS=1 -DCOPIERS=0 -DREACH_TOO_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached too-late
 */
#define PAGES 2
#include "ref.inc"

#define NONE   255
#define INSIDE 253	/* holder of a page that is the second of a larger folio */
#define OTHER  9	/* contents that belong to no page of the file */

/* A tree's entry: the folio's first page and its order in one word. */
#define entry(p, o)  ((p) + 2 * (o))
#define page_of(e)   ((e) & 1)
#define order_of(e)  ((e) >> 1)

/* Initially the file is cached in one large folio, filled by a process that has ended. */
byte slot[2] = entry(0, 1);
bool locked;
byte version[PAGES];
byte order[PAGES];
byte index[PAGES];
byte data[PAGES];	/* the page of the file that the frame contains */

byte pins[PAGES];

#define LOCALS REF_LOCALS; byte page = NONE, round

#define odd(v) (((v) & 1) == 1)

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	locked = false
}

inline release(p)
{
	/* No longer valid, before another process can take it. */
	if
	:: !odd(version[p]) -> version[p]++
	:: else
	fi;
	d_step {
		printf("page %d: released, order %d\n", p, order[p]);
		assert(holder[p] == _pid);			/* claim: one-release */
		assert(order[p] == 0 || p == 0 && holder[1] == INSIDE);	/* claim: release-by-type */
		/* claim: erased-before-release */
		assert(slot[0] == NONE || page_of(slot[0]) != p);
		/* claim: erased-before-release */
		assert(slot[1] == NONE || page_of(slot[1]) != p);
		assert(pins[p] == 0);				/* claim: no-pin-on-free */
		assert(odd(version[p]));			/* claim: free-is-odd */
		if
		:: order[p] == 1 ->
			assert(odd(version[1]));		/* claim: free-is-odd */
			holder[1] = POOL
		:: else
		fi;
		order[p] = 0;
		index[p] = NONE;
		holder[p] = POOL
	}
}

inline put_release(p)
{
	put(p, 1);
	if
	:: won -> release(p)
	:: else
	fi
}

/* Any free page. */
inline alloc()
{
	atomic {
		if
		:: holder[0] == POOL -> page = 0; holder[0] = _pid
		:: holder[1] == POOL -> page = 1; holder[1] = _pid
		:: else -> page = NONE
		fi
	}
}

inline forget()
{
	d_step { page = NONE; ok = false; won = false }
}

proctype filler()
{
	LOCALS;
	byte i;

	do
	:: round < ROUNDS ->
		round++;
		if
		:: /* one page */
			if
			:: i = 0
			:: i = 1
			fi;
			lock();
			if
			:: slot[i] == NONE -> alloc()
			:: else
			fi;
			if
			:: page != NONE ->
				d_step { order[page] = 0; index[page] = i };
				unfreeze(page, 2);
				slot[i] = entry(page, 0);
				unlock();
				data[page] = i;
				version[page]++;
				put_release(page)
			:: else -> unlock()
			fi
		:: /* both pages, one folio */
			lock();
			if
			:: slot[0] == NONE && slot[1] == NONE ->
				atomic {
					if
					:: holder[0] == POOL && holder[1] == POOL ->
						page = 0;
						holder[0] = _pid;
						holder[1] = INSIDE
					:: else
					fi
				}
			:: else
			fi;
			if
			:: page != NONE ->
				d_step { order[0] = 1; index[0] = 0 };
				unfreeze(0, 2);
				slot[0] = entry(0, 1);
				slot[1] = entry(0, 1);
				unlock();
				data[0] = 0;
				data[1] = 1;
				version[0]++;
				put_release(page)
			:: else -> unlock()
			fi
		:: /* for its own use */
			alloc();
			if
			:: page != NONE ->
				unfreeze(page, 1);
				data[page] = OTHER;
				put_release(page)
			:: else
			fi
		fi;
		i = 0;
		forget()
	:: else -> break
	od
}

proctype splitter()
{
	LOCALS;

	if
	:: slot[0] == entry(0, 1) ->
		try_get(0, 1);
		if
		:: ok ->
			lock();
			/* Under the lock: one of the two references is known to be the tree's. */
			if
			:: slot[0] == entry(0, 1) -> try_freeze(0, 2)
			:: else
			fi;
			if
			:: won ->
				assert(pins[0] == 0);		/* claim: freeze-excludes-pins */
				/* A copy takes no reference, so the freeze does not exclude it. */
				version[0]++;
				order[0] = 0;
				d_step {
					/* claim: set-up-by-holder */
					assert(holder[1] == INSIDE);
					holder[1] = _pid;
					order[1] = 0;
					index[1] = 1
				};
				unfreeze(1, 1);
				version[1]++;
				slot[1] = entry(1, 0);
				slot[0] = entry(0, 0);
				printf("page 0: split\n");
				unfreeze(0, 2);
				version[0]++;
				unlock()
			:: else -> unlock()
			fi;
			put_release(0)
		:: else
		fi
	:: else
	fi;
	forget()
}

proctype eraser()
{
	LOCALS;
	byte i, e;

	do
	:: round < ERASES ->
		round++;
		if
		:: i = 0
		:: i = 1
		fi;
		lock();
		e = slot[i];
		if
		:: e != NONE ->
			/* All slots of the entry. */
			if
			:: order_of(e) == 1 -> slot[0] = NONE; slot[1] = NONE
			:: else -> slot[i] = NONE
			fi;
			unlock();
			printf("page %d: erased\n", page_of(e));
			put_release(page_of(e))
		:: else -> unlock()
		fi;
		d_step { i = 0; e = 0 };
		forget()
	:: else -> break
	od
}

/* Pins page i of the file. */
proctype pinner()
{
	LOCALS;
	byte i, e;

	if
	:: i = 0
	:: i = 1
	fi;
	e = slot[i];
	if
	:: e != NONE ->
		page = page_of(e);
		try_get(page, 1);
		if
		:: ok ->
			d_step {
				ok = slot[i] == e;
				if
				:: ok ->
					pins[page]++;
					/* claim: holder-of-live-page */
					assert(holder[page] == LIVE);
					/* claim: entry-tells-order */
					assert(order[page] == order_of(e));
					/* claim: holder-of-right-page */
					assert(index[page] == i - (order_of(e) -> i : 0))
				:: else ->
#ifdef REACH_TOO_LATE
					assert(!(holder[page] == LIVE && slot[i] != NONE &&
						order_of(e) == 1))	/* reached: too-late */
#endif
					skip
				fi
			};
			if
			:: ok ->
				d_step {
					/* claim: holder-of-right-page */
					assert(holder[page] == LIVE && order[page] == order_of(e));
					/* valid already: stays valid; else it is being filled */
					/* claim: pin-keeps-contents */
					assert(odd(version[page]) ||
						data[page + (order_of(e) -> i : 0)] == i);
					pins[page]--
				}
			:: else
			fi;
			put_release(page)
		:: else
		fi
	:: else
	fi;
	d_step { i = 0; e = 0 };
	forget()
}

/* Copies page i of the file without a reference. */
proctype copier()
{
	byte i, e, before, copied;

	if
	:: i = 0
	:: i = 1
	fi;
	e = slot[i];
	if
	:: e != NONE ->
		before = version[page_of(e)];
		if
		:: !odd(before) && slot[i] == e ->
			copied = data[page_of(e) + (order_of(e) -> i : 0)];
#ifdef REACH_OVERTAKEN
			assert(copied == i);			/* reached: overtaken */
#endif
			if
			:: version[page_of(e)] == before ->
				assert(copied == i)		/* claim: copy-is-right-page */
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	d_step { i = 0; e = 0; before = 0; copied = 0 }
}

init {
	byte n;

	atomic {
		/* version: even for the valid folio, odd for the page inside */
		word[0] = 1; refs[0] = 1; holder[0] = LIVE; order[0] = 1;
		holder[1] = INSIDE; version[1] = 1; index[1] = NONE; data[1] = 1;
		run filler();
		run splitter();
		run eraser();
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
	/* The pages left in the tree are freed now, as when the file is closed. */
	do
	:: n < PAGES ->
		if
		:: slot[n] != NONE && (n == 0 || order_of(slot[n]) == 0) ->
			d_step {
				assert(word[page_of(slot[n])] == 1);		/* claim: no-leak */
				/* claim: entry-tells-order */
				assert(order[page_of(slot[n])] == order_of(slot[n]));
				/* claim: entry-tells-order */
				assert(order_of(slot[n]) == 0 || holder[1] == INSIDE);
				word[page_of(slot[n])] = FROZEN;
				holder[page_of(slot[n])] = POOL;
				if
				:: order_of(slot[n]) == 1 -> holder[1] = POOL
				:: else
				fi
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
