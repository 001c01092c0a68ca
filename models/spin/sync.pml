/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.pml - threads that sync one file share the device's syncs. Does a sync ever succeed although
 * the device's sync began before the data was written, or left out the size of the file? Does each
 * handle get each error exactly once? Does a thread ever wait for ever?
 *
 * Each of CALLERS threads has a handle and a page. SYNCS times, it makes the page dirty and syncs.
 * The syncs of caller 0 are full, those of the others data-only. WRITE_ERRORS writes fail, and
 * SYNC_ERRORS syncs of the device. A sync of the device that fails loses all data that is not on
 * the device, and is the only one that reports this. With RANGES, caller 1 syncs its page only,
 * which is no part of a round. With TURNS, calls take turns, as calls with a deadline do
 * (detach_call). With HELP, a thread may write one page before it takes part in a round.
 *
 * What a thread does while it has a lock is one step.
 *
 * run full: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=1 -DSYNC_ERRORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run again: spin -DCALLERS=2 -DSYNCS=3 -DWRITE_ERRORS=1 -DSYNC_ERRORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run ranges: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=1 -DRANGES;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run spurious: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=0 -DSPURIOUS;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run turns: spin -DCALLERS=2 -DSYNCS=3 -DWRITE_ERRORS=1 -DSYNC_ERRORS=1 -DTURNS;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run help: spin -DCALLERS=2 -DSYNCS=2 -DWRITE_ERRORS=1 -DSYNC_ERRORS=1 -DHELP;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run help-three: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=0 -DHELP;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w25; expect clean
 * run quick: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=1;
 *     cc -DSAFETY -DCOLLAPSE; pan -m100000 -w23; expect clean
 * run quick-again: spin -DCALLERS=2 -DSYNCS=2 -DWRITE_ERRORS=1 -DSYNC_ERRORS=0;
 *     cc -DSAFETY; pan -m100000 -w20; expect clean
 *
 * A round shares the device's sync of another; a thread that was woken to begin the device's sync
 * finds that another one was faster; a call succeeds although it did nothing; a round ends before
 * the one that began before it:
 * run shared: spin -DCALLERS=2 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=0 -DREACH_SHARED -DRANGES;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached shared
 * run overtaken: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=0 -DREACH_OVERTAKEN;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached overtaken
 * run covered: spin -DCALLERS=3 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=0 -DREACH_COVERED;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached covered
 * run ends-first: spin -DCALLERS=2 -DSYNCS=1 -DWRITE_ERRORS=0 -DSYNC_ERRORS=0 -DREACH_ENDS_FIRST;
 *     cc -DSAFETY; pan -m100000 -w20; expect reached ends-first
 */
#define FULL(caller)  (caller == 0)
#ifdef RANGES
#define RANGE(caller) (caller == 1)
#else
#define RANGE(caller) false
#endif

/* The device. The contents of a page are the number of its last write. */
byte version[CALLERS];		/* in the cache */
byte written[CALLERS];		/* in the file */
byte flight[CALLERS];		/* number of the write of the page that is in flight, or 0 */
byte writes;			/* writes begun */
byte durable[CALLERS];		/* on the device */
byte durable_size[CALLERS];	/* the size of the file after that write is on the device, too */
byte gone[CALLERS];		/* up to this one, what was not on the device never will be */
byte write_errors, sync_errors;

/* struct inode: errors. */
byte errors, reported[CALLERS];
bool lost;
bool owed[CALLERS];		/* an error that the handle has not reported yet */

/* struct inode: syncs. */
byte begun, ended;		/* syncs of the device */
bool full_wanted;		/* the next one must be full */
byte asleep[2];			/* callers that wait for an even, an odd one: a bit each */
byte rounds, done;		/* rounds begun; one that is done, and all before it */
byte full_round;		/* the last one of which a caller wants a full sync */
byte waiting[3];		/* callers that wait for round n, in [n % 3]: a bit each */
bool turn;			/* inode->detached */

#define SELF (1 << _pid)

/* dirty_record_error, dirty_record_lost */
inline record_error()
{
	errors++;
	i = 0;
	do
	:: i < CALLERS -> owed[i] = true; i++
	:: else -> break
	od;
	i = 0
}

/* run_fill: page p, if it is dirty; and which write is the last that has begun. */
inline collect()
{
	if
	:: written[p] != version[p] && !flight[p] ->
		writes++;
		flight[p] = writes;
		mine = mine | (1 << p)
	:: else
	fi;
	until = writes
}

/* run_finish: of page p, which this thread has collected */
inline finish()
{
	if
	:: written[p] = version[p]
	:: write_errors < WRITE_ERRORS -> write_errors++; record_error()
	fi;
	mine = mine & ~(1 << p);
	flight[p] = 0
}

/* write_and_wait: each page is collected and written in steps of its own. */
inline write_and_wait(first, last)
{
	p = first;
	do
	:: atomic { p <= last -> collect(); p++ }
	:: else -> break
	od;
	p = first;
	do
	:: atomic { mine && mine & (1 << p) -> finish(); p++ }
	:: atomic { mine && !(mine & (1 << p)) -> p++ }
	:: else -> break
	od
}

/* flights_wait: until the writes of page i up to the one with that number have ended */
#define ENDED(i) (!flight[i] || flight[i] > until)
#if CALLERS == 2
#define ALL_ENDED (ENDED(0) && ENDED(1))
#else
#define ALL_ENDED (ENDED(0) && ENDED(1) && ENDED(2))
#endif

/* writeback_flush_all */
inline flush_all()
{
	write_and_wait(0, CALLERS - 1);
	atomic { ALL_ENDED -> p = 0; until = 0 }
}

/* writeback_flush, of the caller's page */
inline flush_own()
{
	write_and_wait(me, me);
	atomic { !flight[me] -> p = 0; until = 0 }
}

/* writeback_help: one page, or none */
inline help()
{
	do
	:: p < CALLERS - 1 -> p++
	:: atomic { collect() };
		if
		:: atomic { mine -> finish() }
		:: else
		fi;
		break
	:: break
	od;
	atomic { p = 0; until = 0 }
}

/* The device's sync: what it begins with, and its end. */
inline device_sync()
{
	atomic {
		do
		:: i < CALLERS -> begun_with[i] = written[i]; i++
		:: else -> break
		od;
		i = 0
	};
	atomic {
		if
		:: sync_errors < SYNC_ERRORS ->
			sync_errors++;
			failed = true;
			do
			:: i < CALLERS -> gone[i] = written[i]; i++
			:: else -> break
			od
		:: do
			:: i < CALLERS ->
				if
				:: begun_with[i] > gone[i] ->
					durable[i] = (begun_with[i] > durable[i] ->
						begun_with[i] : durable[i]);
					durable_size[i] = (entire -> durable[i] : durable_size[i])
				:: else
				fi;
				begun_with[i] = 0;
				i++
			:: else -> break
			od
		fi;
		i = 0
	}
}

/* Until another thread takes this one out of the set. */
inline sleep(set)
{
#ifdef SPURIOUS
	if
	:: !(set & SELF)
	:: atomic { spurious < 1 -> spurious++; set = set & ~SELF }
	fi
#else
	!(set & SELF)
#endif
}

/* One of the threads that sleep: pthread_cond_signal. */
inline signal(set)
{
	if
	:: set != 0 ->
		if
		:: set & 2 -> set = set & ~2
		:: set & 4 -> set = set & ~4
		:: set & 8 -> set = set & ~8
		:: set & 16 -> set = set & ~16
		fi
	:: else
	fi
}

/* await_sync: returns when a sync of the device that began after this call has ended. */
inline await_sync()
{
	atomic {
		ticket = begun + 1;
		full_wanted = full_wanted || complete;
		complete = false
	};
	do
	:: atomic {
			if
			:: ended >= ticket -> break
			:: ended < ticket && begun == ended ->
				begun++;
				entire = full_wanted;
				full_wanted = false;
				leads = true
			:: ended < ticket && begun != ended ->
#ifdef REACH_OVERTAKEN
				assert(!woken || ticket != begun);	/* reached: overtaken */
#endif
				asleep[ticket & 1] = asleep[ticket & 1] | SELF
			fi
		};
		if
		:: leads ->
			device_sync();
			atomic {
				if
				:: failed -> lost = true; record_error()
				:: else
				fi;
				failed = false
			};
			atomic {
				ended = begun;
				number_ended = begun;
				leads = false;
				entire = false;
				led = true
			};
			/* Without the lock. */
			atomic {
				signal(asleep[(number_ended + 1) & 1]);
				asleep[number_ended & 1] = 0;
				number_ended = 0
			}
		:: else ->
			sleep(asleep[ticket & 1]);
			woken = true
		fi
	od;
	atomic { woken = false; ticket = 0 }
}

/* dirty_report_error, and the end of the call */
inline report()
{
	atomic {
		failed = errors != reported[me] || errors != begin || lost;
		reported[me] = errors;
		/* claim: success-means-durable */
		assert(failed || durable[me] == version[me]);
		/* claim: full-means-full */
		assert(failed || !FULL(me) || durable_size[me] == version[me]);
		/* claim: error-is-reported */
		assert(failed || !owed[me]);
		/* claim: error-once */
		assert(!failed || owed[me] || lost);
#ifdef REACH_SHARED
		assert(failed || led);				/* reached: shared */
#endif
		owed[me] = false;
		failed = false;
		led = false;
		begin = 0
	}
}

/* A sync of all pages: next_round, await_round, run_round. */
inline sync_all()
{
	atomic {
		wanted = rounds + 1;
		full_round = (FULL(me) -> wanted : full_round)
	};
#ifdef TURNS
	atomic { !turn -> turn = true };
#endif
#ifdef HELP
	help();
#endif
	do
	:: atomic {
			if
			:: done >= wanted ->
#ifdef REACH_COVERED
				assert(number);			/* reached: covered */
#endif
				break
			:: done < wanted && rounds < wanted && rounds - done < 2 ->
				/* Its end ends the one before, too. */
				complete = full_round > done;
				rounds++;
				number = rounds
			:: else ->
				waiting[wanted % 3] = waiting[wanted % 3] | SELF
			fi
		};
		if
		:: number ->
			flush_all();
			await_sync();
			atomic {
#ifdef REACH_ENDS_FIRST
				assert(done + 1 >= number);	/* reached: ends-first */
#endif
				was_done = done;
				done = (done < number -> number : done);
				next = rounds + 1
			};
			/* Likewise. */
			atomic {
				signal(waiting[next % 3]);
				do
				:: was_done < number -> was_done++; waiting[was_done % 3] = 0
				:: else -> break
				od;
				was_done = 0;
				next = 0
			}
		:: else -> sleep(waiting[wanted % 3])
		fi
	od;
#ifdef TURNS
	atomic { turn = false; wanted = 0; number = 0 }
#else
	atomic { wanted = 0; number = 0 }
#endif
}

proctype caller(byte me)
{
	byte n, i, p, begin, wanted, number, ticket, begun_with[CALLERS];
	byte mine, until, number_ended, was_done, next;
	bool leads, led, entire, complete, failed, woken;
#ifdef SPURIOUS
	byte spurious;
#endif

	do
	:: n < SYNCS ->
		n++;
		/* A writer waits for the page's write-back. */
		atomic { !flight[me] -> version[me]++ };
		begin = errors;
		if
		:: RANGE(me) ->
			complete = FULL(me);
			flush_own();
			await_sync()
		:: else -> sync_all()
		fi;
		report()
	:: else -> break
	od
}

init {
	byte i;

	atomic {
		do
		:: i < CALLERS -> run caller(i); i++
		:: else -> break
		od
	}
}
