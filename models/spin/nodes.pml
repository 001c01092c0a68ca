/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes.pml - readers walk a tree without a lock, while its writer stores and erases, and while
 * nodes that leave the tree are used again at once, also by another tree. Does a walk whose second
 * load of the generation found no change ever return an entry of another page or tree, an entry
 * that was not stored during the walk, or nothing although the page was stored throughout? Does the
 * second check of a slot ever accept an entry that has left the tree?
 *
 * The pool has NODES nodes of two slots. The tree has two levels at most, and pages 0 and 2: page 0
 * alone needs one level, page 2 needs two. Its writer performs ROUNDS steps, each a store or an
 * erase of one page. Another tree uses OTHERS nodes, one at a time. The reader walks TRIES times.
 * The tree's lock is not modelled: there is one writer.
 *
 * run full: spin -DNODES=4 -DROUNDS=4 -DOTHERS=2 -DTRIES=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run twice: spin -DNODES=3 -DROUNDS=3 -DOTHERS=1 -DTRIES=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DNODES=3 -DROUNDS=3 -DOTHERS=1 -DTRIES=1;
 *     cc -DSAFETY; pan -m100000 -w22; expect clean
 *
 * What the generation is for: a reader finds the entry of another tree, nothing where a page is
 * stored, or a node below the lowest level.
 * run foreign: spin -DNODES=3 -DROUNDS=3 -DOTHERS=1 -DTRIES=1 -DREACH_FOREIGN;
 *     cc -DSAFETY; pan -m100000 -w22; expect reached foreign
 * run missed: spin -DNODES=3 -DROUNDS=3 -DOTHERS=1 -DTRIES=1 -DREACH_MISSED;
 *     cc -DSAFETY; pan -m100000 -w22; expect reached missed
 * run too-deep: spin -DNODES=3 -DROUNDS=3 -DOTHERS=1 -DTRIES=1 -DREACH_DEEP;
 *     cc -DSAFETY; pan -m100000 -w22; expect reached too-deep
 */
#define NONE         255
#define FOREIGN      254	/* an entry of the other tree */
#define entry(i)     (16 + (i))
#define is_node(e)   ((e) < NODES)
#define word(n, l)   ((n) * 2 + (l))	/* a root's word has its level */
#define node_of(w)   ((w) / 2)
#define level_of(w)  ((w) % 2)
#define offset(l, i) ((l) -> (i) / 2 : (i) % 2)
#define SLOT(n, o)   slot[(n) * 2 + (o)]
#define EMPTY(n)     (SLOT(n, 0) == NONE && SLOT(n, 1) == NONE)

byte root = NONE;
byte slot[NODES * 2] = NONE;
byte generation;
bool used[NODES];	/* the pool, under its lock */

/* What is true, for the claims. */
bool stored[3];		/* by page; 1 is not used */
byte target = NONE;	/* the page that the reader looks for */
bool present, absent;	/* it was stored, it was not, at some moment of the walk */

inline note(i, is)
{
	stored[i] = is;
	if
	:: i == target && is -> present = true
	:: i == target && !is -> absent = true
	:: else
	fi
}

/* Any node of the pool. NONE: there is none. */
inline take(n)
{
	if
	:: !used[0] -> n = 0; used[0] = true
	:: !used[1] -> n = 1; used[1] = true
	:: !used[2] -> n = 2; used[2] = true
#if NODES > 3
	:: !used[3] -> n = 3; used[3] = true
#endif
	:: else -> n = NONE
	fi;
	if
	:: n != NONE -> assert(EMPTY(n))			/* claim: free-is-empty */
	:: else
	fi
}

/* A node that no new reader can reach: count it, then empty it, then let others use it. */
inline retire(n)
{
	generation++;
	SLOT(n, 0) = NONE;
	used[n] = false
}

/* What a writer reads of its own tree is in one step with its next store. */
inline store(i)
{
	atomic {
		w = root;
		if
		:: w == NONE ->
			take(n);
			if
			:: n != NONE -> w = word(n, i / 2); root = w
			:: else
			fi
		:: w != NONE && level_of(w) == 0 && i > 1 ->
			/* grow: the node above leads to the old root before it is published */
			take(n);
			if
			:: n != NONE -> SLOT(n, 0) = node_of(w); w = word(n, 1)
			:: else -> w = NONE
			fi
		:: else
		fi
	};
	atomic {
		if
		:: w != NONE && root != w -> root = w
		:: else
		fi
	};
	atomic {
		n = NONE;
		if
		:: w == NONE
		:: w != NONE && level_of(w) == 0 -> n = node_of(w)
		:: else ->
			n = SLOT(node_of(w), i / 2);
			if
			:: n == NONE ->
				take(n);
				if
				:: n != NONE -> SLOT(node_of(w), i / 2) = n
				:: else
				fi
			:: else
			fi
		fi
	};
	atomic {
		if
		:: n != NONE -> SLOT(n, i % 2) = entry(i); note(i, true)
		:: else
		fi
	}
}

inline erase(i)
{
	atomic {
		w = root;
		n = (level_of(w) -> SLOT(node_of(w), i / 2) : node_of(w));
		SLOT(n, i % 2) = NONE;
		note(i, false)
	}
}

/*
 * Unlinks empty nodes, and lets the root's only child in slot 0 become the root. Also after a store
 * that found too few nodes.
 */
inline tidy()
{
	do
	:: atomic {
		w = root;
		n = NONE;
		if
		:: w == NONE
		:: w != NONE && EMPTY(node_of(w)) ->
			n = node_of(w);
			root = NONE			/* unlink the root */
		:: w != NONE && level_of(w) && SLOT(node_of(w), 0) != NONE &&
				EMPTY(SLOT(node_of(w), 0)) ->
			n = SLOT(node_of(w), 0);
			SLOT(node_of(w), 0) = NONE	/* unlink */
		:: w != NONE && level_of(w) && SLOT(node_of(w), 1) != NONE &&
				EMPTY(SLOT(node_of(w), 1)) ->
			n = SLOT(node_of(w), 1);
			SLOT(node_of(w), 1) = NONE	/* unlink */
		:: w != NONE && level_of(w) && SLOT(node_of(w), 1) == NONE &&
				SLOT(node_of(w), 0) != NONE && !EMPTY(SLOT(node_of(w), 0)) ->
			n = node_of(w);
			root = word(SLOT(n, 0), 0)	/* shrink */
		:: else
		fi
	   };
	   if
	   :: n != NONE -> retire(n)
	   :: else -> break
	   fi
	od;
	atomic { w = 0; n = 0 }
}

/* Page 0 needs one level, page 2 needs two. */
inline pick(i)
{
	if
	:: i = 0
	:: i = 2
	fi
}

proctype writer()
{
	byte round, i, w, n;

	do
	:: round < ROUNDS ->
		atomic { round++; pick(i) };
		if
		:: stored[i] -> erase(i)
		:: else -> store(i)
		fi;
		tidy();
		i = 0
	:: else -> break
	od
}

/* Another tree uses a node in any way. */
proctype other()
{
	byte round, n;

	do
	:: round < OTHERS ->
		round++;
		atomic { take(n) };
		if
		:: n != NONE ->
			if
			:: SLOT(n, 0) = FOREIGN
			:: SLOT(n, 0) = entry(0)	/* the folio is in the other tree by now */
			:: SLOT(n, 0) = n		/* a node; which one does not matter */
			fi;
			SLOT(n, 1) = FOREIGN;
			SLOT(n, 0) = NONE;
			SLOT(n, 1) = NONE;
			used[n] = false
		:: else
		fi
	:: else -> break
	od
}

proctype reader()
{
	byte round, before, w, n, level, found, at;
	bool valid;

	do
	:: round < TRIES ->
		atomic {
			round++;
			pick(target);
			present = stored[target];
			absent = !stored[target];
			before = generation
		};
		w = root;
		found = NONE;
		at = NONE;
		if
		:: w != NONE && (level_of(w) || target < 2) ->
			n = node_of(w);
			level = level_of(w);
			do
			:: true ->
				at = n * 2 + offset(level, target);
				found = slot[at];
				if
				:: is_node(found) && level -> n = found; level--
				:: else -> break
				fi
			od
		:: else
		fi;
#ifdef REACH_FOREIGN
		/* reached: foreign */
		assert(found == NONE || is_node(found) || found == entry(target));
#endif
#ifdef REACH_MISSED
		assert(found != NONE || absent);	/* reached: missed */
#endif
#ifdef REACH_DEEP
		assert(!is_node(found));		/* reached: too-deep */
#endif
		valid = generation == before;			/* the walk ends */
		if
		:: valid && found != NONE ->
			assert(!is_node(found));		/* claim: walk-ends */
			assert(found == entry(target));	/* claim: walk-finds-right-page */
			assert(present);			/* claim: walk-finds-stored */
			/* A look-up has the folio pinned now, and loads the slot again. */
			d_step {
				valid = slot[at] == found;
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
			target = NONE; before = 0; w = 0; n = 0; level = 0; found = 0; at = 0;
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
