/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim.h - a simulated device: a backend over memory that fails, fills up, tears writes, completes in any order and
 * loses power, as a seed says.
 *
 *	struct sim *sim = sim_new(seed, SIM_THREAD);
 *	struct sim_file *file = sim_add(sim, "a", bytes, len);
 *	struct folio_cache_params params = {
 *		.size = sizeof(params), .bytes = ..., .io = &sim_ops, .io_context = sim };
 *	...
 *	sim_fail(sim, SIM_WRITE, 1, EIO, false);
 *	assert_int_equal(folio_file_sync(f, NULL, 0), -EIO);
 *	sim_cut(sim);
 *	... abandon files, close the cache ...
 *	sim_restore(sim);
 *
 * A file is there twice. What reads see is volatile: writes, truncations and holes change it at once. What survives is
 * on the device: what had been written when a sync succeeded, and of what was written since, by sectors of 512 bytes, as the
 * seed says: the synced one, or any that was written after it; the size likewise. After a sync that failed, a part
 * of what it should have made last never will be, unless it is written again, though later syncs succeed.
 *
 * The simulator also holds the cache to the table's contract (sim_complaint): the shape of requests, no two writes of the
 * same bytes in flight, no write in flight where it truncates or punches, and what is being written stays as it is.
 *
 * Every function may be called from any thread at any time, but for sim_free and sim_restore. A struct sim outlives
 * the caches that use it, one after the other.
 */
#ifndef FOLIO_TESTS_FAULT_SIM_H
#define FOLIO_TESTS_FAULT_SIM_H

#include <stdio.h>

#include <folio/io.h>

#include "history.h"

extern const struct folio_io_ops sim_ops;

struct sim;
struct sim_file;

/* Who runs what was submitted. What is called (read, sync, truncate, punch) runs on the caller at once. */
enum sim_mode {
	SIM_INLINE, /* who submits, before submit returns; requests of one call in any order */
	SIM_THREAD, /* a thread of the simulator's, in any order, with delays */
	SIM_STEP,   /* the test, by sim_step, in any order */
};

enum sim_op {
	SIM_CREATE,
	SIM_OPEN,
	SIM_GETATTR,
	SIM_READ,
	SIM_WRITE,
	SIM_SYNC,
	SIM_TRUNCATE,
	SIM_PUNCH,
	SIM_OPS
};

/* The most that a file can have. */
#define SIM_FILE_MAX (UINT64_C(16) << 20)

struct sim *sim_new(uint64_t seed, enum sim_mode mode);
void sim_free(struct sim *sim);

/* ---- files ---- */

/* A file, on the device already. @bytes may be NULL: zeros. open makes one with O_CREAT, too: empty, and there for good. */
struct sim_file *sim_add(struct sim *sim, const char *path, const void *bytes, uint64_t size);
/* NULL: there is none. */
struct sim_file *sim_find(struct sim *sim, const char *path);

uint64_t sim_size(struct sim_file *file);
/* What reads see, zeros behind the end. */
void sim_peek(struct sim_file *file, void *buf, size_t len, uint64_t offset);
/*
 * Do @len bytes at @offset of what reads see equal @bytes, and does a power cut leave them so, whatever the seed? What lies
 * behind the end counts as zeros. @where: the first that does not.
 */
bool sim_has(
	struct sim_file *file, const void *bytes, size_t len, uint64_t offset, uint64_t *where);
bool sim_keeps(
	struct sim_file *file, const void *bytes, size_t len, uint64_t offset, uint64_t *where);
/* May a file of these bytes be what a cut left? Asked before sim_restore. */
bool sim_allows(struct sim_file *file, const void *bytes, uint64_t size, uint64_t *where);

/* ---- failures ---- */

/*
 * Let the @nth call from now on (1: the next) return -@error, once, or with @sticky from then on. A new order replaces
 * the old; nth 0 calls it off. A read that fails leaves garbage in the memory, a write has written any of its sectors.
 */
void sim_fail(struct sim *sim, enum sim_op op, uint64_t nth, int error, bool sticky);
/* Let about @rate in 65536 calls return -@error. 0 ends it. */
void sim_fail_randomly(struct sim *sim, enum sim_op op, unsigned rate, int error);
/* Let reads or writes that touch the range return -@error, the first or all. One range a file and op; error 0 ends it. */
void sim_fail_range(struct sim_file *file, enum sim_op op, uint64_t offset, uint64_t len, int error,
	bool sticky);
/* Let the @nth read from now on end after @bytes, as if the file ended there. */
void sim_shorten(struct sim *sim, uint64_t nth, uint64_t bytes);
/* All files together get so many bytes, by pages; -ENOSPC then. UINT64_MAX at first. */
void sim_set_capacity(struct sim *sim, uint64_t bytes);
/* Holes cannot be made: -EOPNOTSUPP. */
void sim_set_no_holes(struct sim *sim, bool no_holes);
/* While paused, none of the above happens (a cut does), and nothing is counted. */
void sim_pause(struct sim *sim, bool paused);

/* ---- order ---- */

/* SIM_THREAD: yield up to so many times before some of the requests, and in some calls. */
void sim_set_delay(struct sim *sim, unsigned yields);
/* SIM_STEP: run up to @count requests. Returns how many there were. */
unsigned sim_step(struct sim *sim, unsigned count);
/* Requests in flight. */
unsigned sim_in_flight(struct sim *sim);
/* Wait until nothing is in flight, and all that was has returned from complete. */
void sim_wait_idle(struct sim *sim);

/* ---- power ---- */

/* From now on every call fails with -EIO; what is in flight may have been written in part. */
void sim_cut(struct sim *sim);
/* The same, just before the @nth read, write, sync, truncate or punch is performed. 0 calls it off. */
void sim_cut_at(struct sim *sim, uint64_t nth);
bool sim_is_cut(struct sim *sim);
/* Power is back. Handles from before fail still; nothing is in flight. */
void sim_restore(struct sim *sim);

/* ---- what happened ---- */

uint64_t sim_calls(struct sim *sim, enum sim_op op);
/* Calls that failed on command, or for want of room. */
uint64_t sim_injected(struct sim *sim, enum sim_op op);
/* The same, of one file, cut or not. */
uint64_t sim_failed(struct sim_file *file, enum sim_op op);
/* The same at a moment when nothing is in flight: who submitted what failed has been told. */
uint64_t sim_failed_idle(struct sim_file *file, enum sim_op op);
unsigned sim_in_flight_max(struct sim *sim);
/* A number that tells one sequence of calls, orders and results from another. */
uint64_t sim_trace(struct sim *sim);
/* Print each call that is performed to @to; NULL ends it. */
void sim_trace_to(struct sim *sim, FILE *to);
/* Called for each write when it is submitted, on its thread, with no lock held. */
void sim_observe_writes(struct sim *sim,
	void (*observe)(void *arg, struct sim_file *file, uint64_t offset, uint64_t len),
	void *arg);
/* What the user of the backend did first that it must not do; NULL: nothing. */
const char *sim_complaint(struct sim *sim);

#endif
