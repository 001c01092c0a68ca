/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.pml - a request of a completion queue attaches a watch to a folio that is locked, and
 * another thread unlocks it at any moment. Is a request ever forgotten? Does it end exactly once?
 * Is a watch ever called after its request has ended, and its memory is used for the next one?
 *
 * One folio, which ENDERS threads lock and unlock LOCKS times each (the end of a fill is the same
 * step), the lock of its bucket, one request that is used REQUESTS times, and the lock of its queue
 * (src/core/watch.c, src/async/run.c). One thread begins the requests; REAPERS threads run those
 * that are READY; with CANCEL, another thread cancels. A step of a request that finds the folio
 * unlocked ends it. Threads that sleep on the descriptor are woken by signalled.
 *
 * run full: spin -DENDERS=2 -DLOCKS=2 -DREAPERS=2 -DREQUESTS=2 -DCANCEL;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w24; expect clean
 * run quick: spin -DENDERS=2 -DLOCKS=1 -DREAPERS=1 -DREQUESTS=2 -DCANCEL;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * The folio is unlocked while the watch is attached, and while the request is still being run:
 * run attached: spin -DENDERS=1 -DLOCKS=1 -DREAPERS=1 -DREQUESTS=1 -DREACH_ATTACHED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached called-while-waiting
 * run early: spin -DENDERS=1 -DLOCKS=1 -DREAPERS=1 -DREQUESTS=1 -DREACH_EARLY;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached called-while-running
 * run late: spin -DENDERS=1 -DLOCKS=1 -DREAPERS=1 -DREQUESTS=1 -DREACH_LATE;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached unlocked-before-the-flag
 */
#define LOCKED  1
#define WATCHED 2

mtype = { FREE, RUNNING, WAITING, READY };

byte flags;
bool bucket;		/* the lock of the bucket */
bool attached;		/* the watch is in its list */

bool queue;		/* the lock of the queue */
mtype state = FREE;
bool woken;
bool cancelled;
bool signalled;		/* the descriptor is readable */

byte begun, ended;	/* requests */

inline lock_bucket()
{
	atomic { !bucket -> bucket = true }
}

inline unlock_bucket()
{
	bucket = false
}

inline lock_queue()
{
	atomic { !queue -> queue = true }
}

inline unlock_queue()
{
	queue = false
}

/* wait_ended. */
inline call_watch()
{
	assert(state != FREE);				/* claim: not-called-after-the-end */
	lock_queue();
	woken = true;
	if
	:: state == WAITING ->
#ifdef REACH_ATTACHED
		assert(false);				/* reached: called-while-waiting */
#endif
		state = READY;
		signalled = true
	:: else ->
#ifdef REACH_EARLY
		assert(state != RUNNING);		/* reached: called-while-running */
#endif
		skip
	fi;
	unlock_queue()
}

proctype ender()
{
	byte round, seen;

	do
	:: round < LOCKS ->
		round++;
		atomic { !(flags & LOCKED) -> flags = flags | LOCKED };
		/* folio_flags_change */
		d_step { seen = flags; flags = 0 };
		if
		:: seen & WATCHED ->
			lock_bucket();
			if
			:: attached ->
				attached = false;
				call_watch()
			:: else
			fi;
			unlock_bucket()
		:: else
		fi
	:: else -> break
	od
}

/* watch_attach; ok: it is attached. */
inline attach()
{
	lock_bucket();
	assert(!attached);				/* claim: attached-once */
	attached = true;
#ifdef REACH_LATE
	assert(flags & LOCKED);				/* reached: unlocked-before-the-flag */
#endif
	atomic {
		ok = flags & LOCKED;
		flags = (ok -> flags | WATCHED : flags)
	};
	if
	:: !ok -> attached = false
	:: else
	fi;
	unlock_bucket()
}

/* request_run, and the end of the request. */
inline run_request()
{
	do
	:: lock_queue();
		ok = cancelled;
		woken = false;
		unlock_queue();
		over = ok;
		/* One step: it ends, or is attached. */
		do
		:: over -> break
		:: !over && !(flags & LOCKED) -> over = true
		:: !over && (flags & LOCKED) ->
			attach();
			if
			:: ok -> break
			:: else
			fi
		od;
		if
		:: !over ->
			/* set_aside */
			lock_queue();
			if
			:: cancelled -> over = true
			:: !cancelled && woken -> skip
			:: else -> state = WAITING; ok = false
			fi;
			unlock_queue();
			if
			:: !over && !ok -> break
			:: else
			fi
		:: else
		fi;
		if
		:: over ->
			/* watch_detach */
			lock_bucket();
			attached = false;
			unlock_bucket();
			lock_queue();
			assert(state == RUNNING);	/* claim: run-by-one-thread */
			state = FREE;
			ended++;
			unlock_queue();
			break
		:: else
		fi
	od;
	ok = false;
	over = false
}

proctype submitter()
{
	bool ok, over;

	do
	:: begun < REQUESTS ->
		atomic { state == FREE && !queue -> queue = true };
		begun++;
		state = RUNNING;
		woken = false;
		cancelled = false;
		unlock_queue();
		run_request()
	:: else -> break
	od
}

proctype reaper()
{
	bool ok, over;

	do
	:: atomic { (signalled || ended == REQUESTS) && !queue -> queue = true };
		signalled = false;
		ok = state == READY;
		if
		:: ok -> state = RUNNING
		:: else
		fi;
		unlock_queue();
		if
		:: ok -> run_request()
		:: !ok && ended == REQUESTS -> break
		:: else
		fi
	od
}

#ifdef CANCEL
proctype canceller()
{
	lock_queue();
	if
	:: state != FREE ->
		cancelled = true;
		if
		:: state == WAITING ->
			state = READY;
			signalled = true
		:: else
		fi
	:: else
	fi;
	unlock_queue()
}
#endif

init {
	byte i;

	atomic {
		run submitter();
		for (i : 1 .. ENDERS) {
			run ender()
		}
		for (i : 1 .. REAPERS) {
			run reaper()
		}
#ifdef CANCEL
		run canceller();
#endif
	}
}
