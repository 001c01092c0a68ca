/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.pml - the log goes first. Is a page ever submitted before before_writeback has returned for
 * its sequence number? Is it ever called twice at a time? Does a sync write all that was dirty when
 * it began, and does it end, although a page is marked again and again? Is an older copy of a page
 * ever written after a newer one?
 *
 * Each of PAGES pages is changed MARKS times, each time with the next number of the log, by a
 * thread of its own that takes the page's lock. SYNCERS threads each make a sync of all pages:
 * log_pass, then passes (write_and_wait, write/writeback.c). The flusher makes one pass with
 * -DFLUSHER. FRAMES pages may be written as copies at a time. REFUSALS calls of before_writeback
 * fail. What a thread does while it has a lock is one step.
 *
 * run full: spin -DPAGES=1 -DMARKS=3 -DSYNCERS=2 -DREFUSALS=1 -DFRAMES=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * deep pages: spin -DPAGES=2 -DMARKS=2 -DSYNCERS=2 -DREFUSALS=0 -DFRAMES=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w26; expect clean
 * run again: spin -DPAGES=1 -DMARKS=4 -DSYNCERS=1 -DREFUSALS=0 -DFLUSHER -DFRAMES=2;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run three: spin -DPAGES=1 -DMARKS=2 -DSYNCERS=3 -DREFUSALS=0 -DFRAMES=0;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DPAGES=1 -DMARKS=2 -DSYNCERS=2 -DREFUSALS=1 -DFRAMES=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 * run quick-again: spin -DPAGES=1 -DMARKS=4 -DSYNCERS=1 -DREFUSALS=0 -DFRAMES=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * Two threads share a call; the last pass takes a page whose number is not logged; a page is dirty
 * again when the write of its copy ends:
 * run shared: spin -DPAGES=1 -DMARKS=1 -DSYNCERS=2 -DREFUSALS=0 -DREACH_SHARED -DFRAMES=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached shared
 * run late: spin -DPAGES=1 -DMARKS=4 -DSYNCERS=1 -DREFUSALS=0 -DREACH_LATE -DFRAMES=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached late
 * run again-dirty: spin -DPAGES=1 -DMARKS=2 -DSYNCERS=1 -DREFUSALS=0 -DREACH_AGAIN -DFRAMES=1;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached again
 */
#define PASSES 3
#ifdef FLUSHER
#define THREADS (SYNCERS + 1)
#else
#define THREADS SYNCERS
#endif

bool dirty[PAGES], writeback[PAGES], copied[PAGES];
bool locked[PAGES];
byte sequence[PAGES];		/* the largest of the changes that no write has */
byte changed[PAGES];		/* of the page's contents */
byte frames = FRAMES;		/* for copies */
byte in_file[PAGES];		/* the contents that the file has */
byte numbers;			/* given so far */

/* struct log_calls. */
bool calling;
byte call_sequence;
byte logged;
byte now[THREADS], next[THREADS];	/* the number that the thread waits for, plus 1; 0: none */
bool done[THREADS], refused[THREADS];

byte calls_running;
byte returned;			/* the largest number for which before_writeback has returned 0 */
byte refusals = REFUSALS;

inline mark(p)
{
	atomic { !locked[p] && (!writeback[p] || copied[p]) -> locked[p] = true };
	/* The contents, and then the flag and the number, under the tree's lock. */
	atomic { numbers++; number = numbers; changed[p] = number };
	atomic { dirty[p] = true; sequence[p] = number };
	locked[p] = false
}

/* call_log, of thread @me, which waits for the next call. */
inline call_log()
{
	calling = true;
	call_sequence = 0;
	i = 0;
	do
	:: i < THREADS ->
		now[i] = next[i];
		next[i] = 0;
		if
		:: now[i] && now[i] - 1 > call_sequence -> call_sequence = now[i] - 1
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline end_call(failed)
{
	if
	:: !failed && call_sequence > logged -> logged = call_sequence
	:: else
	fi;
	i = 0;
	shared = 0;
	do
	:: i < THREADS ->
		if
		:: now[i] -> done[i] = true; refused[i] = failed; shared++
		:: else
		fi;
		now[i] = 0;
		i++
	:: else -> break
	od;
	i = 0;
	calling = false;
#ifdef REACH_SHARED
	assert(shared < 2);				/* reached: shared */
#endif
	shared = 0
}

/* log_await: @ok is false if the call was refused. */
inline await(number)
{
	ok = true;
	if
	:: atomic { number <= logged -> skip }
	:: else ->
		atomic {
			if
			:: number <= logged -> done[me] = true; refused[me] = false
			:: else ->
				done[me] = false;
				if
				:: calling && number <= call_sequence -> now[me] = number + 1
				:: else -> next[me] = number + 1
				fi
			fi
		};
		do
		:: atomic { done[me] -> ok = !refused[me]; done[me] = false; refused[me] = false };
			break
		:: atomic { !done[me] && !calling -> call_log() };
			/* The program's part; may fail. */
			atomic {
				calls_running++;
				assert(calls_running == 1)	/* claim: one-call-at-a-time */
			};
			atomic {
				calls_running--;
				if
				:: failing = false; returned =
					(call_sequence > returned -> call_sequence : returned)
				:: refusals > 0 -> refusals--; failing = true
				fi
			};
			atomic { end_call(failing); failing = false }
		od
	fi
}

/* find_largest: one page after the other. */
inline find_largest()
{
	largest = 0;
	any = false;
	p = 0;
	do
	:: p < PAGES ->
		atomic {
			if
			:: dirty[p] ->
				any = true;
				if
				:: sequence[p] > largest -> largest = sequence[p]
				:: else
				fi
			:: else
			fi;
			p++
		}
	:: else -> break
	od;
	p = 0
}

inline log_pass()
{
	find_largest();
	ok = true;
	if
	:: any -> await(largest)
	:: else
	fi;
	largest = 0;
	any = false
}

/* collect of page p: it is taken (@took), with its number. */
inline collect(waits, late)
{
	took = false;
	if
	:: atomic { !dirty[p] -> skip }
	:: atomic { dirty[p] && (locked[p] || writeback[p]) && !waits -> skip }
	:: atomic { dirty[p] && !locked[p] && !writeback[p] ->
			if
			:: sequence[p] <= logged || late ->
				took = true;
				dirty[p] = false;
				writeback[p] = true;
				taken = sequence[p];
				sequence[p] = 0
			:: else -> left = true
			fi
		}
	fi
}

/* bounce_copy, run_start and run_finish. */
inline write()
{
	ok = true;
	contents = 0;
	if
	:: atomic { frames > 0 -> frames--; has_frame = true };
		contents = changed[p];
		copied[p] = true
	:: has_frame = false
	fi;
	if
	:: taken > logged ->
#ifdef REACH_LATE
		assert(false);				/* reached: late */
#endif
		await(taken)
	:: else
	fi;
	if
	:: ok ->
		assert(taken <= returned);		/* claim: log-first */
		/* The device reads. */
		atomic {
			if
			:: !has_frame -> contents = changed[p]
			:: else
			fi;
			assert(contents <= returned)	/* claim: contents-logged */
		};
		atomic {
#ifdef REACH_AGAIN
			assert(!dirty[p]);		/* reached: again */
#endif
			assert(in_file[p] <= contents);	/* claim: in-order */
			in_file[p] = contents;
			writeback[p] = false;
			copied[p] = false;
			/* claim: changed-is-dirty */
			assert(dirty[p] || locked[p] || in_file[p] == changed[p])
		}
	:: else ->
		atomic {
			dirty[p] = true;
			sequence[p] = (sequence[p] > taken -> sequence[p] : taken);
			writeback[p] = false;
			copied[p] = false;
			failed = true
		}
	fi;
	frames = frames + has_frame;
	has_frame = false;
	taken = 0;
	contents = 0
}

inline pass(waits, late)
{
	p = 0;
	do
	:: p < PAGES ->
		collect(waits, late);
		if
		:: took -> write()
		:: else
		fi;
		took = false;
		p++
	:: else -> break
	od;
	p = 0
}

proctype writer(byte p)
{
	byte n, number;

	do
	:: n < MARKS -> mark(p); n++
	:: else -> break
	od
}

proctype syncer(byte me)
{
	byte i, p, largest, passes, shared, taken, contents;
	byte before[PAGES];
	bool any, ok, left, took, failed, failing, has_frame;

	atomic {
		/* What a thread is still changing is not part of the sync. */
		do
		:: p < PAGES -> before[p] = (locked[p] -> 0 : changed[p]); p++
		:: else -> break
		od;
		p = 0
	};
	log_pass();
	failed = !ok;
	do
	:: failed || passes == PASSES -> break
	:: else ->
		passes++;
		left = false;
		pass(true, passes == PASSES);
		if
		:: !left -> break
		:: left && passes < PASSES -> log_pass(); failed = failed || !ok
		:: else
		fi
	od;
	assert(failed || !left);			/* claim: nothing-left */
	/* dirty_wait_written. */
	p = 0;
	do
	:: p < PAGES ->
		!writeback[p];
		atomic {
			/* A write of another thread may have been refused. */
			if
			:: !failed && REFUSALS == 0 ->
				assert(in_file[p] >= before[p])	/* claim: all-is-written */
			:: else
			fi
		};
		p++
	:: else -> break
	od
}

#ifdef FLUSHER
proctype flusher(byte me)
{
	byte i, p, largest, shared, taken, contents;
	bool any, ok, left, took, failed, failing, has_frame;

	log_pass();
	if
	:: ok -> pass(false, false)
	:: else
	fi
}
#endif

init
{
	byte i;

	atomic {
		do
		:: i < PAGES -> run writer(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < SYNCERS -> run syncer(i); i++
		:: else -> break
		od;
#ifdef FLUSHER
		run flusher(SYNCERS)
#endif
	}
}
