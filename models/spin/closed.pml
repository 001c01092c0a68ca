/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closed.pml - files that no handle has open keep their pages, evictors take the pages one by one,
 * and the inode of a file that has lost the last one is freed by the next open or close, or opened
 * again. The memory of an inode is used for the next file at once. Is an inode ever freed while an
 * evictor changes it, freed twice, or taken from a list that it is not in? Does a file that is
 * opened again find only pages of its own? Is each closed inode found by those who free it?
 *
 * INODES inodes, FILES files, PAGES pages. A user opens a file, may fill a page, and closes it,
 * ROUNDS times; whether the file may stay is anyone's guess. An evictor takes a page EVICTS times.
 * At most MAX files stay. A page is not in the model until it is filled, and again when it has left
 * its file. Handles, identity and times are not modelled.
 *
 * run full: spin -DPAGES=2 -DROUNDS=2 -DEVICTS=2 -DUSERS=2 -DEVICTORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run two-evictors: spin -DPAGES=2 -DROUNDS=3 -DEVICTS=1 -DUSERS=1 -DEVICTORS=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DUSERS=2 -DEVICTORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w22; expect clean
 *
 * A file is opened again after its last page has left; an evictor finds that the page has another
 * owner by the time it has the lock.
 * run reopened-empty: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DUSERS=1 -DEVICTORS=1 -DREACH_EMPTY;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached reopened-empty
 * run late: spin -DPAGES=1 -DROUNDS=2 -DEVICTS=2 -DUSERS=1 -DEVICTORS=1 -DREACH_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached late
 */
#define FILES 2
#define INODES 3
#define MAX 1
#define NONE 255

mtype = { FREE, NOWHERE, KEPT, EMPTIED };

byte file[INODES] = NONE;	/* of which the inode is; NONE: its memory is free */
byte opens[INODES];
byte pages[INODES];	/* guarded by the tree's lock, as is closed */
bool closed[INODES];
mtype list[INODES] = NOWHERE;	/* guarded by closed_locked */
byte kept;			/* likewise: inodes in KEPT */
bool locked[INODES];	/* the trees' locks */
bool inside[INODES];	/* an evictor has found the inode to be the owner, and changes it */
bool files_locked, closed_locked;

byte owner[PAGES] = NONE;	/* the inode; stored under its tree's lock */
byte contents[PAGES];	/* the file that a page is of */

byte users;	/* that have ended, and evictors */

inline lock(word)
{
	atomic { !word -> word = true }
}

inline unlock(word)
{
	word = false
}

/* closed_leave. files_locked. */
inline leave(i)
{
	lock(locked[i]);
	lock(closed_locked);
	d_step {
		/* claim: list-right */
		assert(list[i] == (pages[i] -> KEPT : EMPTIED));
		if
		:: list[i] == KEPT -> kept--
		:: else
		fi;
		list[i] = NOWHERE
	};
	unlock(closed_locked);
	closed[i] = false;
	unlock(locked[i])
}

/* inode_forget: drop the pages, and set the memory up for the next file. files_locked. */
inline forget(i)
{
	lock(locked[i]);
	d_step {
		p = 0;
		do
		:: p < PAGES ->
			if
			:: owner[p] == i -> owner[p] = NONE; pages[i]--
			:: else
			fi;
			p++
		:: else -> break
		od;
		assert(!pages[i])				/* claim: account-right */
	};
	unlock(locked[i]);
	d_step {
		assert(!inside[i]);				/* claim: not-in-use */
		assert(file[i] != NONE);			/* claim: freed-once */
		assert(list[i] == NOWHERE && !closed[i]);	/* claim: in-no-list */
		file[i] = NONE
	}
}

/* forget_excess: any one in the list stands for the oldest. files_locked. */
inline forget_excess()
{
	do
	:: true ->
		lock(closed_locked);
		atomic {
			if
			:: list[0] == EMPTIED -> j = 0
			:: list[1] == EMPTIED -> j = 1
			:: list[2] == EMPTIED -> j = 2
			:: else ->
				if
				:: kept > MAX && list[0] == KEPT -> j = 0
				:: kept > MAX && list[1] == KEPT -> j = 1
				:: kept > MAX && list[2] == KEPT -> j = 2
				:: kept <= MAX -> j = NONE
				fi
			fi
		};
		unlock(closed_locked);
		if
		:: j == NONE -> break
		:: else -> leave(j); forget(j)
		fi
	od
}

/* The inode of file f, or one whose memory is free. files_locked. */
inline find()
{
	d_step {
		if
		:: file[0] == f -> i = 0
		:: file[1] == f -> i = 1
		:: file[2] == f -> i = 2
		:: else ->
			if
			:: file[0] == NONE -> i = 0
			:: file[1] == NONE -> i = 1
			:: file[2] == NONE -> i = 2
			fi;
			file[i] = f
		fi
	}
}

/* A file that is opened finds no page of another one. */
inline expect_own_pages()
{
	d_step {
		p = 0;
		do
		:: p < PAGES ->
			assert(owner[p] != i || contents[p] == f);	/* claim: own-pages */
			p++
		:: else -> break
		od
	}
}

inline fill()
{
	lock(locked[i]);
	d_step {
		if
		:: owner[0] == NONE -> owner[0] = i; contents[0] = f; pages[i]++
#if PAGES > 1
		:: owner[0] != NONE && owner[1] == NONE ->
			owner[1] = i; contents[1] = f; pages[i]++
#endif
		:: else
		fi
	};
	unlock(locked[i])
}

proctype user()
{
	byte round, f, i, j, p;

	do
	:: round < ROUNDS ->
		round++;
		if
		:: f = 0
		:: f = 1
		fi;
		lock(files_locked);
		forget_excess();
		find();
		if
		:: closed[i] ->
#ifdef REACH_EMPTY
			assert(pages[i]);			/* reached: reopened-empty */
#endif
			leave(i)
		:: else
		fi;
		expect_own_pages();
		opens[i]++;
		unlock(files_locked);
		if
		:: fill()
		:: true
		fi;
		lock(files_locked);
		opens[i]--;
		if
		:: !opens[i] ->
			if
			:: /* closed_keep */
				lock(locked[i]);
				closed[i] = pages[i] > 0;
				if
				:: closed[i] ->
					lock(closed_locked);
					d_step { list[i] = KEPT; kept++ };
					unlock(closed_locked)
				:: else
				fi;
				unlock(locked[i]);
				if
				:: !closed[i] -> forget(i)
				:: else
				fi
			:: forget(i)
			fi;
			forget_excess();
			assert(kept <= MAX)			/* claim: bound */
		:: else
		fi;
		unlock(files_locked);
		d_step { f = 0; i = 0; j = 0; p = 0 }
	:: else -> break
	od;
	users++
}

proctype evictor()
{
	byte round, p, o;

	do
	:: round < EVICTS ->
		round++;
		if
		:: p = 0
#if PAGES > 1
		:: p = 1
#endif
		fi;
		o = owner[p];
		if
		:: o != NONE ->
			lock(locked[o]);
			if
			:: owner[p] == o ->
				inside[o] = true;
				pages[o]--;
				if
				:: closed[o] && !pages[o] ->
					lock(closed_locked);
					d_step {
						/* claim: list-right */
						assert(list[o] == KEPT);
						list[o] = EMPTIED;
						kept--
					};
					unlock(closed_locked)
				:: else
				fi;
				owner[p] = NONE;
				inside[o] = false
			:: else ->
#ifdef REACH_LATE
				assert(false);			/* reached: late */
#endif
				skip
			fi;
			unlock(locked[o])
		:: else
		fi;
		d_step { p = 0; o = 0 }
	:: else -> break
	od;
	users++
}

init
{
	byte i;

	atomic {
		i = 0;
		do
		:: i < USERS -> run user(); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < EVICTORS -> run evictor(); i++
		:: else -> break
		od
	};
	users == USERS + EVICTORS;
	d_step {
		i = 0;
		do
		:: i < INODES ->
			/* claim: none-forgotten */
			assert(file[i] == NONE ||
				(closed[i] && list[i] == (pages[i] -> KEPT : EMPTIED)));
			i++
		:: else -> break
		od
	}
}
