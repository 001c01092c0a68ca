/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flusher.pml - the flusher starts writes for the files of one device and waits for none of them.
 * Does every writer that waits for it continue? Has a pass tried every page that was dirty when the
 * writer began to wait, before the writer is told so? Does the flusher ever touch a file that was
 * closed, although a write that was in flight fails and makes the file dirty again?
 *
 * Each file has one page. The writes of file 0 fail, those of the others succeed; each may take any
 * time. The writer of a file makes the page dirty WRITES times. Each time it waits as if the device
 * had used up its share (DEVICE_FULL), or its file had. In the end, the writer of file 0 closes it.
 *
 * RUNS runs are all there are; a file may have one at a time. What a thread does while it has
 * writeback.lock is one step; the tree's lock is modelled by one step, too, except that the list's
 * lock is taken in a step of its own. The order of the lists is not modelled: any inode that is due
 * may be visited next.
 *
 * run full: spin -DFILES=2 -DRUNS=2 -DWRITES=2 -DDEVICE_FULL;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run twice: spin -DFILES=2 -DRUNS=1 -DWRITES=2 -DDEVICE_FULL;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * deep files: spin -DFILES=2 -DRUNS=1 -DWRITES=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DFILES=2 -DRUNS=1 -DWRITES=1 -DDEVICE_FULL;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-files: spin -DFILES=2 -DRUNS=1 -DWRITES=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-again: spin -DFILES=1 -DRUNS=1 -DWRITES=3;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * A write fails after the file was taken off the list for its close; the flusher finds no run:
 * run fails-late: spin -DFILES=1 -DRUNS=1 -DWRITES=1 -DDEVICE_FULL -DREACH_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached fails-late
 * run blocked: spin -DFILES=2 -DRUNS=1 -DWRITES=1 -DDEVICE_FULL -DREACH_BLOCKED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached blocked
 */
#define NONE 255

mtype = { CLEAN, DIRTY, WRITEBACK };
mtype = { UNLISTED, BY_AGE, WANTED, CLOSED };

typedef file_type {
	mtype page = CLEAN;
	mtype in_list = UNLISTED;
	bool wanted;		/* dirty_wanted */
	bool in_pass;		/* dirty_pass is the present pass */
	byte visits;		/* dirty_visits */
	byte errors;
	bool running;		/* share: a run in use */
	bool begun_with;	/* parity of the run */
	byte fills;		/* requests in flight */
	bool freed;
	/* For the claims. */
	byte tried;		/* writes that have begun */
	byte ended;		/* writes that have ended */
};

file_type file[FILES];

/* The device. */
bool wanted;
byte begun, ended, unvisited;
bool visited, parity;
byte pending[2];

/* struct writeback. */
byte runs;
bool blocked, wakeup;
byte current = NONE;
byte asleep;			/* writers that wait for change: a bit each */

#define SELF        (1 << _pid)
#define IN_PASS     (begun != ended)
#define MAY_RUN(f)  (runs < RUNS && !file[f].running)
#define DUE(f)      (file[f].wanted || (IN_PASS && file[f].in_pass))
#define LISTED(f)   (file[f].in_list == BY_AGE || file[f].in_list == WANTED)

inline broadcast()
{
	asleep = 0
}

inline leave_pass(f)
{
	if
	:: file[f].in_pass ->
		file[f].in_pass = false;
		unvisited--
	:: else
	fi
}

inline insert(f)
{
	assert(!file[f].freed);				/* claim: closed-is-left-alone */
	if
	:: file[f].wanted -> file[f].in_list = WANTED
	:: else -> file[f].in_list = BY_AGE
	fi
}

/* dirty_list: the first check is made without the lock. */
inline list(f)
{
	if
	:: file[f].in_list == UNLISTED ->
		atomic {
			if
			:: file[f].in_list == UNLISTED ->
				insert(f);
				if
				:: file[f].wanted -> wakeup = true
				:: else
				fi
			:: else
			fi
		}
	:: else
	fi
}

inline begin_pass()
{
	begun++;
	unvisited = 0;
	i = 0;
	do
	:: i < FILES ->
		if
		:: LISTED(i) -> file[i].in_pass = true; unvisited++
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline end_pass()
{
	ended = begun;
	visited = false;
	broadcast();
	if
	:: wanted -> wanted = false; begin_pass(); wakeup = true
	:: else
	fi
}

/* run_put. @p: the parity of the run. */
inline put_run(f, p)
{
	file[f].running = false;
	runs--;
	pending[p]--;
	if
	:: blocked || (visited && pending[1 - parity] == 0) -> wakeup = true
	:: else
	fi;
	broadcast()
}

/* The backend ends a write: run_finish. */
proctype device(byte f)
{
	bool failed, p;

end:
	do
	:: atomic { file[f].page == WRITEBACK && file[f].running ->
			/* Under the tree's lock. */
			assert(!file[f].freed);		/* claim: closed-is-left-alone */
			failed = f == 0;
			p = file[f].begun_with;
			file[f].ended++;
			if
			:: failed -> file[f].errors++; file[f].page = DIRTY
			:: else -> file[f].page = CLEAN
			fi
		};
		if
		:: failed ->
#ifdef REACH_LATE
			assert(file[f].in_list != CLOSED);		/* reached: fails-late */
#endif
			list(f)
		:: else
		fi;
		atomic { put_run(f, p) };
		atomic { file[f].fills--; failed = false; p = false }
	od
}

/* visit_next, for the inode @f. */
inline visit(f)
{
	/* write_range: run_get */
	atomic {
		if
		:: MAY_RUN(f) ->
			file[f].running = true;
			runs++;
			file[f].begun_with = parity;
			pending[parity]++;
			got = true
		:: else -> blocked = true; got = false
		fi
	};
	if
	:: got ->
		/* collect, and run_start */
		atomic {
			assert(!file[f].freed);		/* claim: closed-is-left-alone */
			if
			:: file[f].page == DIRTY ->
				file[f].page = WRITEBACK;
				file[f].tried++;
				file[f].fills++;
				got = true
			:: else -> got = false
			fi
		};
		if
		:: got
		:: else -> atomic { put_run(f, file[f].begun_with) }
		fi;
		/* dirty_in_range */
		if
		:: file[f].page == DIRTY -> list(f)
		:: else
		fi;
		got = true
	:: else
	fi;
	/* dirty_visit_end_locked */
	atomic {
		if
		:: got -> file[f].visits++; leave_pass(f)
		:: !got && file[f].in_list == CLOSED -> leave_pass(f)
		:: else ->
			file[f].in_list = UNLISTED;
			if
			:: was_wanted -> file[f].wanted = true
			:: else
			fi;
			insert(f)
		fi;
		current = NONE;
		got = false;
		was_wanted = false;
		broadcast()
	}
}

/* background */
proctype flusher()
{
	bool more, got, was_wanted;
	byte f, i;

end:
	do
	:: atomic { more || wakeup ->
			wakeup = false;
			more = false;
			blocked = false;
			if
			:: !IN_PASS && wanted -> wanted = false; begin_pass()
			:: else
			fi
		};
		/* flush_device, once for each list; next_due */
		f = 0;
		do
		:: f < FILES ->
			atomic {
				if
				:: LISTED(f) && DUE(f) && MAY_RUN(f) ->
					more = true;
					was_wanted = file[f].wanted;
					file[f].wanted = false;
					file[f].in_list = UNLISTED;
					current = f
				:: LISTED(f) && DUE(f) && !MAY_RUN(f) ->
#ifdef REACH_BLOCKED
					assert(false);			/* reached: blocked */
#endif
					blocked = true
				:: else
				fi
			};
			if
			:: current == f -> visit(f)
			:: else
			fi;
			f++
		:: else -> break
		od;
		atomic {
			f = 0;
			if
			:: IN_PASS && !visited && unvisited == 0 ->
				visited = true;
				parity = 1 - parity
			:: else
			fi;
			if
			:: visited && pending[1 - parity] == 0 -> end_pass()
			:: else
			fi
		}
	od
}

/* A writer of file @f: it makes a page dirty, and waits (wait_for_pages). */
proctype writer(byte f)
{
	byte n, i, visits, pass, errors, tried[FILES], was_dirty[FILES];
	bool settled;

	do
	:: n < WRITES ->
		n++;
		/* The folio's lock: not while it is being written. */
		atomic { file[f].page != WRITEBACK -> file[f].page = DIRTY };
		list(f);
		/* flusher_throttle, and the beginning of wait_for_pages */
		atomic {
			visits = file[f].visits + 1 + (current == f -> 1 : 0);
			pass = begun;
			errors = file[f].errors;
			i = 0;
			do
			:: i < FILES ->
				tried[i] = file[i].tried;
				was_dirty[i] = file[i].page == DIRTY && (LISTED(i) || current == i);
				i++
			:: else -> break
			od;
			i = 0
		};
		do
		:: atomic {
				/* pages are left; the file's own error; has_settled */
				if
#ifdef DEVICE_FULL
				:: pass < ended -> settled = true; break
				:: file[f].errors != errors -> break
				:: else ->
					if
					:: begun == pass && !wanted -> wanted = true; wakeup = true
					:: else
					fi;
#else
				:: file[f].page == CLEAN -> break
				:: file[f].errors != errors -> break
				:: file[f].visits >= visits && !file[f].running -> break
				:: else ->
					if
					:: file[f].visits < visits && !file[f].wanted &&
						(LISTED(f) || current == f) ->
						file[f].wanted = true;
						if
						:: LISTED(f) -> file[f].in_list = WANTED
						:: else
						fi;
						wakeup = true
					:: else
					fi;
#endif
					asleep = asleep | SELF
				fi
			};
			!(asleep & SELF)
		od;
		atomic {
			i = 0;
			do
			:: settled && i < FILES ->
				/* claim: settled-means-tried */
				assert(!was_dirty[i] || file[i].tried > tried[i] ||
					file[i].in_list == CLOSED);
				/* claim: settled-means-ended */
				assert(!was_dirty[i] || file[i].ended > tried[i] ||
					file[i].in_list == CLOSED);
				i++
			:: else -> break
			od;
			i = 0;
			settled = false
		}
	:: else -> break
	od;
	if
	:: f == 0 ->
		/* dirty_detach and inflight_drain, in inode_put */
		atomic {
			if
			:: LISTED(f) -> file[f].in_list = UNLISTED
			:: else
			fi;
			leave_pass(f);
			if
			:: unvisited == 0 -> wakeup = true
			:: else
			fi;
			file[f].in_list = CLOSED
		};
		current != f;
		file[f].fills == 0;
		file[f].freed = true
	:: else
	fi
}

init {
	byte i;

	atomic {
		do
		:: i < FILES -> run writer(i); run device(i); i++
		:: else -> break
		od;
		run flusher()
	}
}
