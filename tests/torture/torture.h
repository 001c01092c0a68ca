/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture.h - what the modes of the torture test share: options, random decisions, violations, counts.
 *
 *   torture.c   options, threads, progress, report
 *   pause.c     the pause points: yields, and waits across a whole reuse
 *   counter.c   mode counter: the counter alone, over an array of objects that are reused at once
 *   tree.c      mode tree: stores and erases of entries that say where they belong, beside loads
 *   cache.c     mode cache: everything, through the public calls
 *   serial.c    one thread at a time, in an order that the seed says
 *   backend.c   files for mode cache, whose every byte says what it is
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
	double seconds;      /* for all modes together; 0: by operations */
	uint64_t operations; /* of each mode, all threads together; 0: by seconds */
	uint64_t seed;
	unsigned cores;
	unsigned threads;
	uint64_t budget; /* pages */
	bool json;
	bool stop;   /* at the first violation */
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

/* What mix64 made of what. The multiplier is the inverse modulo 2^64. */
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

/* Each is something that must never happen. */
enum violation {
	/* counter */
	VIOLATION_RELEASED_TWICE,   /* a second release in one life */
	VIOLATION_RELEASED_IN_USE,  /* released while somebody held a checked reference */
	VIOLATION_RELEASED_VISIBLE, /* released while a slot still led to it */
	VIOLATION_RELEASED_AS_OTHER, /* the release saw another type, or a state from before the last put */
	VIOLATION_HELD_CHANGED, /* an object or a pinned page changed under a checked reference */
	VIOLATION_HELD_FOREIGN, /* a checked reference to something that was not where it was found */
	VIOLATION_NOT_FROZEN,   /* a free or frozen object let a get succeed or lost its bit */
	/* tree */
	VIOLATION_TREE_FOREIGN, /* found at an index that it was not stored for */
	VIOLATION_TREE_ERASED,  /* found after its erase had returned */
	VIOLATION_TREE_EARLY,   /* found before it was stored */
	VIOLATION_TREE_MISSED,  /* not found though it was there throughout */
	VIOLATION_TREE_RESULT,  /* a store, an erase, a mark or a walk went wrong */
	/* cache */
	VIOLATION_GARBAGE,       /* bytes that no file and no program wrote */
	VIOLATION_FOREIGN_FILE,  /* bytes of another file, or of a private folio */
	VIOLATION_FOREIGN_INDEX, /* bytes of another page of the file */
	VIOLATION_TORN,          /* bytes of two generations in one page */
	VIOLATION_STALE,         /* older than what a finished invalidation allows */
	VIOLATION_FUTURE,        /* newer than the file was at the end of the call */
	VIOLATION_ZERO,          /* zeros where the file has contents, or contents after its end */
	VIOLATION_RESULT,        /* a call returned what it must not */
	VIOLATION_PRIVATE,       /* a private folio changed under its owner */
	VIOLATION_PRIVATE_RELEASE, /* a program's release ran too early, twice, never, or as another type */
	/* all */
	VIOLATION_MISUSE, /* the counter's own checks, where they are built in, found one */
	VIOLATION_LEAK,   /* not everything came back at the end */
	VIOLATION_STUCK,  /* no thread got anything done */
	VIOLATIONS,
};

/* Count it and print it, up to a number. */
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

/* One for each thread; its own but for operations, counts and histograms, which the report reads. */
struct worker {
	_Alignas(64) pthread_t thread;
	unsigned number;
	struct rng rng; /* of the operation that is running */
	folio_u64 operations;
	folio_u64 count[COUNTS_MAX];
	struct histogram histogram[HISTOGRAMS_MAX];
	void *own; /* of the mode */
};

static inline void worker_add(struct worker *worker, unsigned count, uint64_t n)
{
	folio_u64 *at = &worker->count[count];

	folio_u64_store_relaxed(at, folio_u64_load_relaxed(at) + n);
}

void histogram_add(struct histogram *histogram, uint64_t value);

/* True when the run is to end: time is up, or a violation with --stop. */
bool torture_stopping(void);

/* Workers that have operations left. */
unsigned torture_active(void);

struct mode {
	const char *name;
	const char *const *counts;     /* names of worker->count[], NULL at the end */
	const char *const *histograms; /* of worker->histogram[], NULL at the end */
	/* Before the workers begin. Returns 0, or prints why not. */
	int (*open)(void);
	/* By each worker: before its first operation, one operation, after the last. */
	void (*begin)(struct worker *worker);
	void (*operation)(struct worker *worker);
	void (*end)(struct worker *worker);
	/* After the workers have ended: all has to come back. */
	void (*close)(void);
	/* More counts, printed after the workers'; at most COUNTS_MAX. Returns how many. May be NULL. */
	unsigned (*more)(const char **name, uint64_t *value);
	/* The number of the life that the object of a counter is in; NULL for a counter of something else. */
	folio_u64 *(*life)(const void *object);
};

extern const struct mode mode_counter, mode_tree, mode_cache;

/* ---- turns (serial.c) ---- */

/* Before the workers begin; by each worker before its first operation and after its last. */
void serial_begin(void);
void serial_enter(unsigned number);
void serial_leave(void);

/* Let others run: sched_yield, or the end of the turn. */
void give_way(void);

/* A place where a turn may end; nothing without --serial. */
void serial_point(void);

/* A lock of the test's own that is held across a pause point. */
void torture_lock(pthread_mutex_t *lock);

/* How many turns there have been; a thread asks in its turn. */
uint64_t serial_turns(void);

/* ---- pauses (pause.c) ---- */

/* Pauses happen between these two. The life function tells lives of objects. */
void pause_begin(const struct mode *mode);
void pause_end(void);

/* The calling thread decides from this seed. Threads of the library, which do not call it, get one by themselves. */
void pause_seed(uint64_t seed);

/* The decisions of the calling thread that depend on how the threads are scheduled. */
struct rng *pause_rng(void);

/* A point in the test itself: now and then yield, or wait until @object (NULL: nothing) has begun another life. */
void pause_here(const void *object);

/* A point where others should often come between: every other time a few yields. */
void pause_often(void);

/*
 * The result of a put that the calling thread has just done, for the account of reuse races: a put whose CAS comes
 * after its object has begun another life passed one, and won it when it released the object.
 */
void pause_put_done(bool won);

/* An object whose putter is stalled at zero now, or was not long ago; NULL. For late getters. */
void *pause_stalled(struct rng *rng);

struct pause_counts {
	uint64_t zeros;        /* puts that came to zero */
	uint64_t stalled;      /* of those, that waited for a reuse */
	uint64_t passed;       /* of those, with a whole reuse before the CAS */
	uint64_t won;          /* of those, whose CAS won: they released a later life */
	uint64_t lives_passed; /* lives begun during those stalls */
	uint64_t junk_resets;  /* junk found to be too much */
	uint64_t late; /* getters and copiers that waited across a reuse of what they had found */
	uint64_t yields;
};
void pause_counts(struct pause_counts *counts);

/* A link-time wrapper of folio_release calls pause_put_done(true): see torture's link arguments. */

#endif
