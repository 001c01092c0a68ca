/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * directory.pml - readers look a page up in the directory of a tree (src/core/directory.h) without
 * a lock, while its writer stores and erases, replaces the directory and drops it, and while leaves
 * and arrays that leave the tree are used again at once, also by another tree. Does a walk whose
 * second load of the generation found no change ever return an entry of another page or tree, an
 * entry that was not stored during the walk, or nothing although the page was stored throughout?
 * Does the second check of a slot ever accept an entry that has left the tree?
 *
 * The tree has one node of level 1, its root, with two slots. Each leads to a leaf of one page, or
 * holds a large entry. (nodes.pml has trees that grow and shrink.) A directory is an array of two
 * slots. The pool has NODES leaves and ARRAYS arrays. The writer performs ROUNDS steps: a store or
 * an erase of one page, or a change of the directory. Another tree takes OTHERS leaves and arrays,
 * one of each at a time. The reader walks TRIES times. The tree's lock is not modelled: there is
 * one writer.
 *
 * run full: spin -DNODES=2 -DARRAYS=2 -DROUNDS=4 -DOTHERS=1 -DTRIES=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run twice: spin -DNODES=2 -DARRAYS=2 -DROUNDS=3 -DOTHERS=1 -DTRIES=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DNODES=2 -DARRAYS=2 -DROUNDS=3 -DOTHERS=1 -DTRIES=1;
 *     cc -DSAFETY; pan -m100000 -w22; expect clean
 *
 * What the generation is for: a reader finds the entry of another tree, by a leaf or by an array.
 * run foreign: spin -DNODES=2 -DARRAYS=2 -DROUNDS=4 -DOTHERS=1 -DTRIES=1 -DREACH_FOREIGN;
 *     cc -DSAFETY; pan -m100000 -w22; expect reached foreign
 * run foreign-array: spin -DNODES=2 -DARRAYS=2 -DROUNDS=4 -DOTHERS=1 -DTRIES=1
 *     -DREACH_ARRAY; cc -DSAFETY; pan -m100000 -w22; expect reached foreign-array
 * What the walk from the root is for: the directory has nothing, and the tree has the page.
 * run behind: spin -DNODES=2 -DARRAYS=2 -DROUNDS=4 -DOTHERS=1 -DTRIES=1 -DREACH_BEHIND;
 *     cc -DSAFETY; pan -m100000 -w22; expect reached behind
 */
#define NONE       255
#define FOREIGN    254	/* an entry of the other tree */
#define entry(i)   (16 + (i))
#define is_node(e) ((e) < NODES)
#define DIR(a, i)  array[(a) * 2 + (i)]

byte block[2] = NONE;		/* the slots of the tree's node of level 1 */
byte directory = NONE;		/* the tree's array */
byte leaf[NODES] = NONE;	/* the slot of each leaf */
byte array[ARRAYS * 2] = NONE;
byte generation;
bool used[NODES];		/* the pools, under their lock */
bool taken[ARRAYS];

/* What is true, for the claims. */
bool stored[2];		/* from the first store to the return of the erase: may be found */
bool whole[2];		/* from then to the first store of the erase: must be found */
byte target = NONE;	/* the page that the reader looks for */
bool present, absent;	/* it was stored, it was not whole, at some moment of the walk */

inline begins(i)
{
	stored[i] = true;
	whole[i] = true;
	present = present || i == target
}

inline ends(i)
{
	whole[i] = false;
	absent = absent || i == target
}

/* Any leaf of the pool. NONE: there is none. */
inline take(n)
{
	if
	:: !used[0] -> n = 0; used[0] = true
	:: !used[1] -> n = 1; used[1] = true
#if NODES > 2
	:: !used[2] -> n = 2; used[2] = true
#endif
	:: else -> n = NONE
	fi;
	assert(n == NONE || leaf[n] == NONE)			/* claim: free-is-empty */
}

inline take_array(a)
{
	if
	:: !taken[0] -> a = 0; taken[0] = true
	:: !taken[1] -> a = 1; taken[1] = true
	:: else -> a = NONE
	fi;
	assert(a == NONE || (DIR(a, 0) == NONE && DIR(a, 1) == NONE))	/* claim: free-is-empty */
}

/* The mirror of a slot of level 1, if there is one. It is stored after the slot. */
inline mirror(i, e)
{
	if
	:: directory != NONE -> DIR(directory, i) = e
	:: else
	fi
}

/* An array that no new reader can reach: its pages go back to the system, then others use it. */
inline give_array(a)
{
	atomic { DIR(a, 0) = NONE; DIR(a, 1) = NONE };
	taken[a] = false
}

inline store(i)
{
	if
	:: block[i] == NONE ->
		atomic { block[i] = entry(i); begins(i) };	/* a large entry */
		mirror(i, entry(i))
	:: block[i] == NONE ->
		atomic { take(n) };
		if
		:: n != NONE -> block[i] = n; mirror(i, n)
		:: else
		fi
	:: is_node(block[i]) -> n = block[i]	/* only shadows so far */
	fi;
	if
	:: n != NONE -> atomic { leaf[n] = entry(i); begins(i) }
	:: else
	fi;
	n = NONE
}

/* A leaf that has lost its page stays, because of its shadows, or leaves the tree. */
inline unlink(i)
{
	n = block[i];
	block[i] = NONE;
	mirror(i, NONE);
	generation++;			/* the leaf is unlinked, in the directory as well */
	leaf[n] = NONE;
	used[n] = false;
	n = NONE
}

inline erase(i)
{
	if
	:: is_node(block[i]) ->
		atomic { leaf[block[i]] = NONE; ends(i) };
		if
		:: true
		:: unlink(i)
		fi
	:: else ->
		atomic { block[i] = NONE; ends(i) };
		mirror(i, NONE)
	fi;
	stored[i] = false		/* the erase returns */
}

/* The tree gets a directory, or a larger or smaller one, or loses it. */
inline change()
{
	old = directory;
	new = NONE;
	if
	:: old != NONE
	:: atomic { take_array(new) };
	   if
	   :: new != NONE ->
		DIR(new, 0) = block[0];
		DIR(new, 1) = block[1]
	   :: else
	   fi
	fi;
	directory = new;
	if
	:: old != NONE ->
		generation++;		/* the directory is replaced */
		give_array(old)
	:: else
	fi;
	atomic { old = NONE; new = NONE }
}

proctype writer()
{
	byte round, i, n = NONE, old = NONE, new = NONE;

	do
	:: round < ROUNDS ->
		atomic {
			round++;
			if
			:: i = 0
			:: i = 1
			fi
		};
		if
		:: stored[i] -> erase(i)
		:: !stored[i] -> store(i)
		:: !stored[i] && is_node(block[i]) -> unlink(i)
		:: change()
		fi;
		i = 0
	:: else -> break
	od
}

/* Another tree uses a leaf and an array in any way. */
proctype other()
{
	byte round, n = NONE, a = NONE;

	do
	:: round < OTHERS ->
		round++;
		atomic { take(n) };
		atomic { take_array(a) };
		if
		:: n != NONE ->
			if
			:: leaf[n] = FOREIGN
			:: leaf[n] = entry(0)	/* the folio is in the other tree by now */
			fi
		:: else
		fi;
		if
		:: a != NONE ->
			if
			:: n != NONE -> DIR(a, 0) = n
			:: DIR(a, 0) = FOREIGN
			:: DIR(a, 0) = entry(0)
			fi;
			DIR(a, 0) = NONE;
			taken[a] = false
		:: else
		fi;
		if
		:: n != NONE -> leaf[n] = NONE; used[n] = false
		:: else
		fi;
		atomic { n = NONE; a = NONE }
	:: else -> break
	od
}

/* Follows a slot of level 1, or its mirror. */
inline follow()
{
	if
	:: is_node(found) -> at_leaf = found; found = leaf[at_leaf]
	:: else
	fi
}

proctype reader()
{
	byte round, before, found, at = NONE, at_leaf = NONE;
	bool valid;

	do
	:: round < TRIES ->
		atomic {
			round++;
			if
			:: target = 0
			:: target = 1
			fi;
			present = stored[target];
			absent = !whole[target];
			before = generation
		};
		at = directory;
		found = NONE;
		if
		:: at != NONE ->
			found = DIR(at, target);
#ifdef REACH_ARRAY
			assert(found != FOREIGN);	/* reached: foreign-array */
#endif
			follow()
		:: else
		fi;
		if
		:: found == NONE ->			/* from the root */
			at = NONE;
			at_leaf = NONE;
			found = block[target];
			follow();
#ifdef REACH_BEHIND
			/* reached: behind */
			assert(found == NONE || directory == NONE ||
				DIR(directory, target) != NONE);
#endif
		:: else
		fi;
#ifdef REACH_FOREIGN
		assert(found == NONE || found == entry(target));	/* reached: foreign */
#endif
		valid = generation == before;			/* the walk ends */
		if
		:: valid && found != NONE ->
			assert(found == entry(target));	/* claim: walk-finds-right-page */
			assert(present);			/* claim: walk-finds-stored */
			/* A look-up has the folio pinned now, and loads the slot again. */
			d_step {
				if
				:: at_leaf != NONE -> valid = leaf[at_leaf] == found
				:: at_leaf == NONE && at != NONE -> valid = DIR(at, target) == found
				:: else -> valid = block[target] == found
				fi;
				/* In the tree now? Accepted if the generation agrees. */
				present = stored[target]
			};
			if
			:: valid && generation == before ->	/* the second check */
				assert(present)			/* claim: second-check-is-exact */
			:: else
			fi
		:: valid && found == NONE ->
			assert(absent)				/* claim: walk-misses-nothing */
		:: else
		fi;
		d_step {
			target = NONE; before = 0; found = 0; at = NONE; at_leaf = NONE;
			valid = false; present = false; absent = false
		}
	:: else -> break
	od
}

init {
	atomic {
		run writer();
		run other();
		run reader()
	}
	timeout;
	assert(_nr_pr == 1)					/* claim: no-deadlock */
}
