/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * word-split.pml - each page of a large folio has a word, which names the page's own frame; the
 * count is in the folio's head. A folio of two pages is split while it is pinned and copied by
 * word, erased, and its frames are used again. Is a pinned folio the one that has the requested
 * page, and does a copy have the bytes of that page?
 *
 * One file of two pages, two frames. A pin loads the word, then the head of the frame's folio,
 * gets a reference there, and looks at the word again. The splitter tries once, the eraser erases
 * ERASES times, the filler fills single pages FILLS times; one pinner, one copier.
 *
 * run full: spin -DFILLS=2 -DERASES=2 -DPINNERS=1 -DCOPIERS=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run copies: spin -DFILLS=2 -DERASES=2 -DPINNERS=0 -DCOPIERS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DFILLS=1 -DERASES=1 -DPINNERS=1 -DCOPIERS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-copy: spin -DFILLS=2 -DERASES=1 -DPINNERS=0 -DCOPIERS=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * A pin loads the head before the split, and gets a reference there after it.
 * run too-late: spin -DFILLS=0 -DERASES=0 -DPINNERS=1 -DCOPIERS=0 -DREACH_TOO_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached too-late
 */
#define PAGES 2
#include "ref.inc"
#include "word.inc"

#define INSIDE 253	/* holder of a frame that is the second of a larger folio */
#define OTHER  9	/* contents that belong to no page of the file */

byte head[PAGES];	/* the frame of the folio's head; the second one's changes by a split */
byte data[PAGES];	/* the page of the file that the frame contains */
byte pins[PAGES];

#define LOCALS WORD_LOCALS; byte round

/* The head p is frozen and the caller's; its version and those of the other pages turn odd. */
inline release(p)
{
	version_write_begin(p);
	d_step {
		printf("page %d: released\n", p);
		assert(holder[p] == _pid);			/* claim: one-release */
		/* claim: erased-before-release */
		assert(words[0] == EMPTY || head[frame_of(words[0])] != p);
		/* claim: erased-before-release */
		assert(words[1] == EMPTY || head[frame_of(words[1])] != p);
		assert(pins[p] == 0);				/* claim: no-pin-on-free */
		data[p] = OTHER;
		if
		:: p == 0 && holder[1] == INSIDE ->
			version[1] = version[1] | 1;
			data[1] = OTHER;
			holder[1] = POOL
		:: else
		fi;
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

inline forget()
{
	d_step { page = NONE; i = 0; seen = 0; ok = false; won = false }
}

proctype splitter()
{
	LOCALS;

	try_get(0, 1);
	if
	:: ok ->
		lock();
		won = false;
		if
		:: words[1] != EMPTY && holder[1] == INSIDE -> try_freeze(0, 2)
		:: else
		fi;
		if
		:: won ->
			assert(pins[0] == 0);			/* claim: freeze-excludes-pins */
			/* The words of pages that get another head, before the head changes. */
			version_write_begin(1);
			words[1] = make(version[1], 1, 0);
			d_step { head[1] = 1; holder[1] = _pid; owner[1] = 1 };
			unfreeze(1, 1);
			version_write_end(1);
			words[1] = make(version[1], 1, PRESENT);
			unfreeze(0, 2)
		:: else
		fi;
		unlock();
		put_release(0)
	:: else
	fi;
	forget()
}

proctype eraser()
{
	LOCALS;

	do
	:: round < ERASES ->
		round++;
		pick_index();
		lock();
		seen = words[i];
		if
		:: seen != EMPTY ->
			page = head[frame_of(seen)];
			words[i] = EMPTY;
			if
			:: page == 0 && holder[1] == INSIDE -> words[1 - i] = EMPTY
			:: else
			fi;
			owner[page] = NONE;
			unlock();
			put_release(page)
		:: else -> unlock()
		fi;
		forget()
	:: else -> break
	od
}

proctype filler()
{
	LOCALS;

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
			head[page] = page;
			unfreeze(page, 2);
			lock();
			owner[page] = i;
			words[i] = make(version[page], page, 0);
			unlock();
			data[page] = i;
			word_settle(page);
			put_release(page)
		:: else
		fi;
		forget()
	:: else -> break
	od
}

proctype pinner()
{
	LOCALS;
	byte frame;

	pick_index();
	seen = words[i];				/* 1: load the word */
	if
	:: flags_of(seen) == PRESENT ->
		frame = frame_of(seen);
		page = head[frame];			/* 2: load the head */
		try_get(page, 1);			/* 3: one add */
		if
		:: ok ->
#ifdef REACH_TOO_LATE
			assert(head[frame] == page);	/* reached: too-late */
#endif
			ok = words[i] == seen;		/* 4: the same word again? */
			if
			:: ok ->
				d_step {
					pins[page]++;
					/* claim: holder-of-right-page */
					assert(holder[page] == LIVE && head[frame] == page);
					/* claim: holder-of-right-page */
					assert(data[frame] == i)
				};
				d_step {
					/* claim: holder-of-right-page */
					assert(holder[page] == LIVE && head[frame] == page);
					/* claim: holder-of-right-page */
					assert(data[frame] == i);
					pins[page]--
				}
			:: else
			fi;
			put_release(page)
		:: else
		fi
	:: else
	fi;
	frame = 0;
	forget()
}

proctype copier()
{
	byte i, seen, copied;

	pick_index();
	seen = words[i];
	if
	:: flags_of(seen) == PRESENT ->
		copied = data[frame_of(seen)];
		if
		:: words[i] == seen -> assert(copied == i)	/* claim: copy-is-right-page */
		:: else
		fi
	:: else
	fi;
	d_step { i = 0; seen = 0; copied = 0 }
}

init {
	byte n;

	atomic {
		/* The file is cached in one large folio. */
		version[0] = 2;
		version[1] = 2;
		data[1] = 1;
		words[0] = make(2, 0, PRESENT);
		words[1] = make(2, 1, PRESENT);
		owner[0] = 0;
		word[0] = 1;
		refs[0] = 1;
		holder[0] = LIVE;
		holder[1] = INSIDE;
		run splitter();
#if ERASES > 0
		run eraser();
#endif
#if FILLS > 0
		run filler();
#endif
#if PINNERS > 0
		run pinner();
#endif
#if COPIERS > 0
		run copier()
#endif
	}
	timeout;
	assert(_nr_pr == 1);					/* claim: no-deadlock */
	do
	:: n < 2 ->
		if
		:: words[n] != EMPTY ->
			/* claim: settled-at-the-end */
			assert(flags_of(words[n]) == PRESENT);
			/* claim: settled-at-the-end */
			assert(version_of(words[n]) == version[frame_of(words[n])]);
			assert(data[frame_of(words[n])] == n);	/* claim: word-of-right-page */
			assert(word[head[frame_of(words[n])]] == 1)	/* claim: no-leak */
		:: else
		fi;
		n++
	:: else -> break
	od;
	n = 0;
	do
	:: n < PAGES ->
		assert(pins[n] == 0);				/* claim: no-leak */
		/* claim: no-leak */
		assert(holder[n] == POOL || (words[0] != EMPTY && frame_of(words[0]) == n) ||
			(words[1] != EMPTY && frame_of(words[1]) == n));
		n++
	:: else -> break
	od
}
