/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim.h - a simulated device. It is a backend over memory that, directed by a seed, fails, fills
 * up, tears writes, completes requests in any order and loses power.
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
 * A file has two states. Reads see the volatile state: writes, truncations and holes change it at
 * once. A power cut leaves the durable state. Of data written before a successful sync, everything
 * survives. Of later writes, the seed decides for each sector of 512 bytes: the synced version
 * survives, or any version written after it. The same holds for the size. If a sync fails, a part
 * of the data that it should have made durable never becomes durable, even if later syncs succeed,
 * unless that data is written again.
 *
 * A sync with FOLIO_IO_DATA_ONLY makes the data and the size durable, and not the times of the
 * file. A flush that fails has lost some of the data that was written since the last sync or flush:
 * reads no longer see it.
 *
 * The simulator also checks that the cache follows the contract of struct folio_io_ops
 * (sim_complaint): the shape of requests; no request submitted again while it is in flight; no two
 * writes of the same bytes in flight; no write in flight in a range that is truncated or punched;
 * the buffer of a write does not change while the write is in flight; no read past the end of the
 * file; no request through a probe. It ends the program if a handle is open when a cache is closed.
 *
 * Every function except sim_free and sim_restore may be called from any thread at any time. One
 * struct sim may serve several caches, one at a time, and must outlive them.
 */
#ifndef FOLIO_TESTS_FAULT_SIM_H
#define FOLIO_TESTS_FAULT_SIM_H

#include <stdio.h>

#include <folio/io.h>

#include "history.h"

extern const struct folio_io_ops sim_ops;

struct sim;
struct sim_file;

/*
 * Which thread runs submitted requests. Calls (read, sync, truncate, punch) run at once on the
 * caller.
 */
enum sim_mode {
	/* the submitter, before submit returns; the requests of one call in any order */
	SIM_INLINE,
	SIM_THREAD, /* a thread of the simulator, in any order, with delays */
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
	SIM_FLUSH,
	SIM_OPS
};

/* The largest size of a file, less its base (sim_set_base). */
#define SIM_FILE_MAX (UINT64_C(16) << 20)

struct sim *sim_new(uint64_t seed, enum sim_mode mode);
void sim_free(struct sim *sim);

/* ---- files ---- */

/*
 * Adds a file that is durable already. @bytes may be NULL: zeros. open with O_CREAT adds one too:
 * it is empty, and durable at once.
 */
struct sim_file *sim_add(struct sim *sim, const char *path, const void *bytes, uint64_t size);
/*
 * Files that are added later are sparse: they have no data before @base, a multiple of the page
 * size, where reads see zeros and writes are a violation. INT64_MAX is the largest size.
 */
void sim_set_base(struct sim *sim, uint64_t base);
/*
 * Moves a file to another device, before it is opened. The first files of all devices have the same
 * inode number. Device 1 has all files at first.
 */
void sim_set_device(struct sim_file *file, uint64_t device);
/* The file's number for folio_file_open_fd. It need not be closed. */
int sim_fd(const struct sim_file *file);
/*
 * A read past the page of this byte is a violation: the cache knows where the file ends. UINT64_MAX
 * at first.
 */
void sim_set_end(struct sim_file *file, uint64_t end);
/* NULL: no such file. */
struct sim_file *sim_find(struct sim *sim, const char *path);

uint64_t sim_size(struct sim_file *file);
/* What reads see from @offset on, which is not before the base; zeros past the end. */
void sim_peek(struct sim_file *file, void *buf, size_t len, uint64_t offset);
/*
 * sim_has: do reads at @offset see the @len bytes of @bytes? sim_keeps: does a power cut leave them
 * so, whatever the seed? Bytes past the end count as zeros. @where: the first that differs.
 */
bool sim_has(
	struct sim_file *file, const void *bytes, size_t len, uint64_t offset, uint64_t *where);
bool sim_keeps(
	struct sim_file *file, const void *bytes, size_t len, uint64_t offset, uint64_t *where);
/* Does a power cut leave the present times? It does after a full sync, if nothing changed since. */
bool sim_keeps_times(struct sim_file *file);
/* May a cut leave a file with exactly these bytes? Call it before sim_restore. */
bool sim_allows(struct sim_file *file, const void *bytes, uint64_t size, uint64_t *where);

/* ---- failures ---- */

/*
 * The @nth call from now on (1: the next) returns -@error, once; with @sticky every later call
 * does, too. A later call of sim_fail replaces an earlier one; nth 0 cancels it. A failed read
 * leaves garbage in the buffer. Of a failed write any subset of the sectors is written.
 */
void sim_fail(struct sim *sim, enum sim_op op, uint64_t nth, int error, bool sticky);
/* About @rate in 65536 calls return -@error. 0 ends it. */
void sim_fail_randomly(struct sim *sim, enum sim_op op, unsigned rate, int error);
/*
 * Reads or writes that touch the range return -@error: the first one only, or with @sticky all. One
 * range per file and op; error 0 ends it.
 */
void sim_fail_range(struct sim_file *file, enum sim_op op, uint64_t offset, uint64_t len, int error,
	bool sticky);
/* The @nth read from now on ends after @bytes, as if the file ended there. */
void sim_shorten(struct sim *sim, uint64_t nth, uint64_t bytes);
/*
 * The capacity of all files together, counted in pages. Writes beyond it return -ENOSPC. UINT64_MAX
 * at first.
 */
void sim_set_capacity(struct sim *sim, uint64_t bytes);
/* Punching fails with -EOPNOTSUPP. */
void sim_set_no_holes(struct sim *sim, bool no_holes);
/* While paused, none of the above happens and nothing is counted. A cut still happens. */
void sim_pause(struct sim *sim, bool paused);

/* ---- order ---- */

/* SIM_THREAD: yields up to @yields times before some of the requests, and in some calls. */
void sim_set_delay(struct sim *sim, unsigned yields);
/* SIM_STEP: runs up to @count requests and returns how many it ran. */
unsigned sim_step(struct sim *sim, unsigned count);
/* Requests in flight. */
unsigned sim_in_flight(struct sim *sim);
/* Waits until nothing is in flight and every complete has returned. */
void sim_wait_idle(struct sim *sim);

/* ---- power ---- */

/* From now on every call fails with -EIO. Writes in flight may have been written in part. */
void sim_cut(struct sim *sim);
/*
 * The same, just before the @nth read, write, sync, truncate or punch is performed. 0 cancels it.
 */
void sim_cut_at(struct sim *sim, uint64_t nth);
bool sim_is_cut(struct sim *sim);
/* Restores power. Handles opened before still fail. Nothing may be in flight. */
void sim_restore(struct sim *sim);

/* ---- what happened ---- */

uint64_t sim_calls(struct sim *sim, enum sim_op op);
/* Calls that failed on command or because the device is full. */
uint64_t sim_injected(struct sim *sim, enum sim_op op);
/* The same for one file. Calls that failed because of a power cut are included. */
uint64_t sim_failed(struct sim_file *file, enum sim_op op);
/* The same, once nothing is in flight: every failure has been reported to its submitter. */
uint64_t sim_failed_idle(struct sim_file *file, enum sim_op op);
unsigned sim_in_flight_max(struct sim *sim);
/* A hash of the sequence of calls, their order and their results. */
uint64_t sim_trace(struct sim *sim);
/* Prints each call that is performed to @to; NULL ends it. */
void sim_trace_to(struct sim *sim, FILE *to);
/*
 * @observe is called for each write when it is submitted, on the submitting thread, with no lock
 * held.
 */
void sim_observe_writes(struct sim *sim,
	void (*observe)(void *arg, struct sim_file *file, uint64_t offset, uint64_t len),
	void *arg);
/* The first violation of the backend's contract by its user; NULL: none. */
const char *sim_complaint(struct sim *sim);

#endif
