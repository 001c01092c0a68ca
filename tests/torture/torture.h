/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture.h - shared by the modes of the torture test: options, random decisions, violations,
 * counts.
 *
 *   torture.c   options, threads, progress, report
 *   pause.c     the pause points: yields, and waits across a complete reuse
 *   counter.c   mode counter: the counter alone, over an array of objects that are reused at once
 *   tree.c      mode tree: stores and erases of self-describing entries, concurrent with loads
 *   cache*.c    mode cache: everything, through the public calls (cache-mode.h)
 *   serial.c    one thread at a time, in an order drawn from the seed
 *   backend.c   files for mode cache in which every byte identifies itself
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <folio/atomic.h>

#define WORKERS_MAX 512

/* ---- options ---- */

struct options {
	double seconds;      /* for all modes together; 0: limited by operations */
	uint64_t operations; /* per mode, all threads together; 0: limited by seconds */
	uint64_t seed;
	unsigned cores;
	unsigned threads;
	uint64_t budget; /* pages */
	bool json;
	bool stop;   /* exit at the first violation */
	bool serial; /* one thread at a time */
};
extern struct options options;

/* ---- random decisions ---- */

struct rng {
	uint64_t state;
};

static inline uint64_t mix64(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

/* Inverts mix64. The multiplier is the inverse modulo 2^64. */
static inline uint64_t unmix64(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xcfee444d8b59a89b);
	x ^= x >> 32;
	x *= UINT64_C(0xcfee444d8b59a89b);
	x ^= x >> 32;
	return x;
}

static inline uint64_t rng_next(struct rng *rng)
{
	rng->state += UINT64_C(0x9e3779b97f4a7c15);
	return mix64(rng->state);
}

/* 0 .. n - 1; n is at least 1. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

static inline bool rng_one_in(struct rng *rng, uint64_t n)
{
	return rng_below(rng, n) == 0;
}

/* ---- violations ---- */

/* Things that must never happen. */
enum violation {
	/* counter */
	VIOLATION_RELEASED_TWICE,   /* a second release in one use */
	VIOLATION_RELEASED_IN_USE,  /* released while a thread held a checked reference */
	VIOLATION_RELEASED_VISIBLE, /* released while a slot still pointed to it */
	/* the release saw another type, or state older than the last put */
	VIOLATION_RELEASED_AS_OTHER,
	VIOLATION_HELD_CHANGED, /* an object or a pinned page changed under a checked reference */
	/* a checked reference to something that was not where it was found */
	VIOLATION_HELD_FOREIGN,
	VIOLATION_NOT_FROZEN, /* a free or frozen object let a get succeed or lost its bit */
	/* tree */
	VIOLATION_TREE_FOREIGN, /* found at an index for which it was not stored */
	VIOLATION_TREE_ERASED,  /* found after its erase had returned */
	VIOLATION_TREE_EARLY,   /* found before it was stored */
	VIOLATION_TREE_MISSED,  /* not found although it was stored throughout */
	VIOLATION_TREE_RESULT,  /* wrong result of a store, an erase, a mark or a walk */
	/* cache */
	VIOLATION_GARBAGE,       /* bytes that no file and no program wrote */
	VIOLATION_FOREIGN_FILE,  /* bytes of another file, or of a private folio */
	VIOLATION_FOREIGN_INDEX, /* bytes of another page of the file */
	VIOLATION_TORN,          /* bytes of two generations in one page */
	VIOLATION_STALE,         /* older than a finished invalidation allows */
	VIOLATION_FUTURE,        /* newer than the file was at the end of the call */
	VIOLATION_ZERO,          /* zeros where the file has contents, or contents past its end */
	VIOLATION_RESULT,        /* a call returned a result that it must not return */
	VIOLATION_PRIVATE,       /* a private folio changed under its owner */
	/* a program's release ran too early, twice, never, or as another type */
	VIOLATION_PRIVATE_RELEASE,
	/* all */
	VIOLATION_MISUSE, /* the counter's own checks, if they are built in, found an error */
	VIOLATION_LEAK,   /* something was not returned by the end */
	VIOLATION_STUCK,  /* no thread made progress */
	VIOLATIONS,
};

/* Counts a violation, and prints it unless too many have been printed. */
void violation(enum violation kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t violations_total(void);

/* ---- workers ---- */

/* Logarithmic: 0, 1, 2-3, 4-7, ... */
#define BUCKETS 24
struct histogram {
	folio_u64 bucket[BUCKETS];
};

#define COUNTS_MAX     32
#define HISTOGRAMS_MAX 3

/*
 * One per thread. Only operations, counts and histograms are read by another thread: for the
 * report.
 */
struct worker {
	_Alignas(64) pthread_t thread;
	unsigned number;
	struct rng rng; /* of the current operation */
	folio_u64 operations;
	folio_u64 count[COUNTS_MAX];
	struct histogram histogram[HISTOGRAMS_MAX];
	void *own; /* data of the mode */
};

static inline void worker_add(struct worker *worker, unsigned count, uint64_t n)
{
	folio_u64 *at = &worker->count[count];

	folio_u64_store_relaxed(at, folio_u64_load_relaxed(at) + n);
}

void histogram_add(struct histogram *histogram, uint64_t value);

/* True if the run must end: time is up, or a violation occurred with --stop. */
bool torture_stopping(void);

/* Workers that have operations left. */
unsigned torture_active(void);

struct mode {
	const char *name;
	const char *const *counts;     /* names of worker->count[], NULL at the end */
	const char *const *histograms; /* names of worker->histogram[], NULL at the end */
	/* Before the workers start. Returns 0, or prints the reason for a failure. */
	int (*open)(void);
	/* Called by each worker: before the first operation, for each operation, after the last. */
	void (*begin)(struct worker *worker);
	void (*operation)(struct worker *worker);
	void (*end)(struct worker *worker);
	/* After the workers have ended: everything must have been returned. */
	void (*close)(void);
	/*
	 * More counts, printed after the workers' counts; at most COUNTS_MAX. Returns their number.
	 * May be NULL.
	 */
	unsigned (*more)(const char **name, uint64_t *value);
	/*
	 * The number of uses that the object of a counter has begun. NULL: the counter belongs to
	 * another kind of object.
	 */
	folio_u64 *(*use_count)(const void *object);
};

extern const struct mode mode_counter, mode_tree, mode_cache;

/* ---- turns (serial.c) ---- */

/*
 * Called before the workers start; by each worker before its first operation; and after its last.
 */
void serial_begin(void);
void serial_enter(unsigned number);
void serial_leave(void);

/* Lets other threads run: sched_yield, or with --serial the end of the turn. */
void yield_turn(void);

/* A point where a turn may end; does nothing without --serial. */
void serial_point(void);

/* For a lock of the test that is held across a pause point. */
void torture_lock(pthread_mutex_t *lock);

/* The number of turns so far. A thread may call it only in its turn. */
uint64_t serial_turns(void);

/* ---- pauses (pause.c) ---- */

/* Pauses happen between these two. The mode's function tells one use of an object from the next. */
void pause_begin(const struct mode *mode);
void pause_end(void);

/*
 * Seeds the calling thread's decisions. Threads of the library do not call it; they get a seed
 * automatically.
 */
void pause_seed(uint64_t seed);

/* For decisions of the calling thread that depend on how the threads are scheduled. */
struct rng *pause_rng(void);

/*
 * A pause point in the test itself: sometimes yields, or waits until @object (NULL: none) has begun
 * another use.
 */
void pause_here(const void *object);

/* A point at which other threads should often run: a few yields, every other time. */
void pause_often(void);

/*
 * Reports the result of a put that the calling thread has just done, for the count of reuse races.
 * A put whose CAS comes after its object has begun another use has passed a reuse race; it has won
 * the race if it released the object.
 */
void pause_put_done(bool won);

/* An object whose putter is stalled at zero, or was recently; NULL: none. For late getters. */
void *pause_stalled(struct rng *rng);

struct pause_counts {
	uint64_t zeros;       /* puts that reached zero */
	uint64_t stalled;     /* of those: waited for a reuse */
	uint64_t passed;      /* of those: a complete reuse came before the CAS */
	uint64_t won;         /* of those: the CAS won, and released a later use */
	uint64_t uses_passed; /* uses begun during those stalls */
	uint64_t junk_resets; /* times the junk limit was reached */
	/* getters and copying readers that waited across a reuse of the object found */
	uint64_t late;
	uint64_t yields;
};
void pause_counts(struct pause_counts *counts);

/*
 * A link-time wrapper of folio_release calls pause_put_done(true); see the link arguments in
 * meson.build.
 */

#endif
