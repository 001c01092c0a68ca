/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world.h - one seed of fsx: its cache, handles, pins and model, and functions of the other files.
 */
#ifndef FOLIO_TESTS_FAULT_FSX_WORLD_H
#define FOLIO_TESTS_FAULT_FSX_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <folio/cache.h>

#include "history.h"
#include "sim.h"

#define PAGE            ((uint64_t)FOLIO_PAGE_SIZE)
#define LENGTH_MAX      (UINT64_C(64) << 10) /* of most operations */
#define SIZE_MAX_MAX    (UINT64_C(1) << 20)
#define PINS            8
#define HANDLES         2
#define LAST_OPERATIONS 50
/* With fewer syncs, the states that a power cut may leave take too much memory. */
#define SYNC_AT_LEAST   4000
#define HANG_SECONDS    60

struct options {
	uint64_t seed, operations, seeds, jobs, budget;
	const char *path;
	bool json, no_faults, no_cuts, trace, go_on;
};

extern struct options options;

/* X(name, weight) */
#define OPERATIONS         \
	X(READ, 12)        \
	X(READ_NOWAIT, 2)  \
	X(PIN, 6)          \
	X(UNPIN, 6)        \
	X(WRITE, 12)       \
	X(WRITE_PINNED, 6) \
	X(APPEND, 2)       \
	X(SHRINK, 2)       \
	X(GROW, 2)         \
	X(PUNCH, 3)        \
	X(SYNC, 1)         \
	X(SYNC_RANGE, 2)   \
	X(REOPEN, 1)       \
	X(REOPEN_ALL, 1)   \
	X(INVALIDATE, 2)   \
	X(REVALIDATE, 1)   \
	X(PREFETCH, 1)     \
	X(ADVISE, 1)       \
	X(DISCARD, 1)

enum kind {
#define X(name, weight) name,
	OPERATIONS
#undef X
		KINDS
};

extern const char *const kind_name[];

/* An operation, for the report. */
struct operation {
	uint64_t number;
	enum kind kind;
	int handle;
	uint64_t offset, len, size; /* size of the file before it */
	int64_t result;
	const char *note;
};

struct pin {
	struct folio *folio; /* NULL: none */
	void *memory;
	uint64_t index;
	uint64_t len;        /* bytes of it that the file had */
	uint32_t generation; /* of the page, when it was pinned */
	uint64_t sunk;       /* truncated since then: this many bytes must not change */
	unsigned char *copy; /* its contents at that time */
};

struct handle {
	struct folio_file *file; /* NULL: closed */
	bool writable;
	uint64_t reported; /* failed write-backs that it has reported, or that came before it */
	bool reported_unknown;
};

struct totals {
	uint64_t seeds, operations, bytes_read, bytes_written, cuts, failed_calls, abandoned,
		injected, writes, evictions, differences, count[KINDS];
};

struct world {
	uint64_t seed, random;
	/* Chosen by the seed. */
	uint64_t max, pages; /* of the model */
	/*
	 * The model and all offsets below are those of the part of the file from base on. Before
	 * it is a hole. The part has at most limit bytes.
	 */
	uint64_t base, limit;
	unsigned weight[KINDS], weights;
	bool faults, cuts, sequences, tracks;
	struct folio_cache_params params;
	enum sim_mode mode;

	struct sim *sim; /* NULL: a real file */
	struct sim_file *disk;
	int view; /* descriptor for reading through the kernel */
	struct folio_cache *cache;
	struct handle handle[HANDLES];
	struct pin pin[PINS];

	/* The model: zeros past the end. */
	unsigned char *model;
	uint64_t size;
	uint32_t *generation;    /* by page: how often it has changed */
	struct history *history; /* since the last sync; NULL: nothing can be lost */
	uint64_t size_min;       /* the smallest size that the file may have */
	bool poisoned;           /* a sync failed: its data may be lost for good */
	bool forgot;             /* the same, until the power comes back */
	bool sync_failed;        /* every sync fails until all handles are closed */
	/* Since the first handle was opened: */
	uint64_t evictions;       /* of the cache, at that time */
	uint64_t flush_failed;    /* failed flushes, at that time */
	bool dropped;             /* clean pages may have left otherwise, as next to a hole */
	uint64_t callback_failed; /* write-backs that before_writeback refused */

	/*
	 * By page: the sequence number that before_writeback must see before the page is written;
	 * stored under the folio's lock.
	 */
	_Atomic uint64_t *sequence;
	_Atomic uint64_t sequence_flushed;
	uint64_t sequence_last;
	_Atomic uint64_t sequence_bad; /* 1 + a page that was written too early */
	bool callback_refuses;

	struct operation last[LAST_OPERATIONS];
	struct operation *now;
	uint64_t operation, last_sync, quiet_until;
	bool quiet;
	unsigned char *buffer;

	struct totals totals;
	pthread_t thread;
	jmp_buf out;
};

extern struct world world;

#define SIM_NAME "file"

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint64_t below(struct world *w, uint64_t limit)
{
	return limit ? next_random(&w->random) % limit : 0;
}

static inline bool one_in(struct world *w, uint64_t n)
{
	return below(w, n) == 0;
}

static inline void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "fsx: no memory\n");
		exit(3);
	}
	return memory;
}

/* report.c */
void print_bytes(const char *what, const unsigned char *bytes, size_t len);
__attribute__((format(printf, 2, 3), noreturn)) void differ(
	struct world *w, const char *format, ...);
void compare(struct world *w, const char *what, const void *found, uint64_t offset, size_t len);
void hang(int signal);

/* model.c: expected failures, and what the file must have */
bool is_cut(struct world *w);
void pause_faults(struct world *w);
void resume_faults(struct world *w);
void failed(struct world *w, int64_t r, const char *what);
uint64_t failures(struct world *w, bool idle);
int before_writeback(void *context, uint64_t sequence);
void observe_write(void *arg, struct sim_file *file, uint64_t offset, uint64_t len);
void changed(struct world *w, uint64_t offset, uint64_t len);
void set_size(struct world *w, uint64_t size);
void model_write(struct world *w, const void *buf, uint64_t offset, uint64_t len);
void model_truncate(struct world *w, uint64_t size);
void model_punch(struct world *w, uint64_t offset, uint64_t len);
void model_synced(struct world *w, uint64_t offset, uint64_t len);

/* handles.c: pins, handles, the cache, and power cuts */
void unpin(struct world *w, struct pin *pin);
void unpin_all(struct world *w);
struct handle *any_handle(struct world *w, bool writable);
bool open_handle(struct world *w, struct handle *handle, bool writable);
void compare_file(struct world *w, const char *when, uint64_t offset, uint64_t len);
void close_handle(struct world *w, struct handle *handle);
bool open_world(struct world *w);
void close_cache(struct world *w);
void recover(struct world *w);

/* operations.c */
void do_read(struct world *w, bool nowait);
void do_pin(struct world *w);
void do_write(struct world *w, bool append);
void do_write_pinned(struct world *w);
void do_truncate(struct world *w, bool grow);
void do_punch(struct world *w);
void do_discard(struct world *w);
void do_sync(struct world *w, bool all);
void do_reopen(struct world *w, bool all);
void do_invalidate(struct world *w);
void do_revalidate(struct world *w);
void do_prefetch(struct world *w);
void do_advise(struct world *w);

/* seed.c */
bool run_seeds(uint64_t job, struct totals *totals);

#endif
