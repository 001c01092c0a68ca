/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io-fault.h - a backend for tests: files that need no disk, and reads that fail, come late, come
 * in any order or come short on command.
 *
 *	struct io_fault *io = io_fault_new(seed, 2);
 *	struct io_fault_file *file = io_fault_add(io, "a", 10 * FOLIO_PAGE_SIZE);
 *	struct folio_cache_params params = {
 *		.size = sizeof(params), .bytes = ..., .io = &io_fault_ops, .io_context = io };
 *	...
 *	io_fault_fail(io, IO_FAULT_READ, 1, EIO);
 *	assert_int_equal(folio_file_read(f, buf, 64, 0), -EIO);
 *	assert_int_equal(folio_file_read(f, buf, 64, 0), 64);
 *	assert_true(io_fault_check(file, 0, buf, 64, NULL, NULL));
 *
 * The struct io_fault outlives the caches that use it, one after the other. Every function may be
 * called from any thread at any time, io_fault_free excepted.
 */
#ifndef FOLIO_TESTS_IO_FAULT_H
#define FOLIO_TESTS_IO_FAULT_H

#include <folio/io.h>

extern const struct folio_io_ops io_fault_ops;

struct io_fault;
struct io_fault_file;

/*
 * @seed: of the order of completion and of random failures.
 * @threads: that run the reads, from create to destroy, each taking any one of those that wait. 0:
 * reads run on the calling thread at once, submitted ones complete before submit returns, and
 * nothing can be held.
 */
struct io_fault *io_fault_new(uint64_t seed, unsigned threads);
void io_fault_free(struct io_fault *io);

/* ---- files ---- */

/*
 * A file under a name. Its contents are a function of the file, its generation (1 at first), the
 * page and the place in the page, so that a reader can tell of each byte whether it is right, and a
 * file of 2^44 bytes costs nothing. A name that was there before now means the new file, with
 * another inode; who has the old one open keeps it. At most 255 files.
 */
struct io_fault_file *io_fault_add(struct io_fault *io, const char *path, uint64_t size);

/* A file with bytes of the test's own, which stay as they are and where they are. */
struct io_fault_file *io_fault_add_bytes(
	struct io_fault *io, const char *path, const void *bytes, uint64_t size);

/*
 * A new size (of io_fault_add_bytes: no more than it had at first) and time of change, the same
 * contents.
 */
void io_fault_resize(struct io_fault_file *file, uint64_t size);
/* New contents and a new time of change. Returns the new generation. At most 2^24 - 1. */
uint64_t io_fault_change(struct io_fault_file *file);
uint64_t io_fault_generation(struct io_fault_file *file);

/* The word (host order) at @offset, a multiple of 8, of a generation of a file of io_fault_add. */
uint64_t io_fault_word(const struct io_fault_file *file, uint64_t generation, uint64_t offset);

/*
 * Is every byte of @data what the file had at @offset in some generation, each page of one? Does
 * not look at the size. @oldest, @newest (may be NULL): the generations found; oldest > newest when
 * @len is 0.
 */
bool io_fault_check(struct io_fault_file *file, uint64_t offset, const void *data, size_t len,
	uint64_t *oldest, uint64_t *newest);

/* ---- failures ---- */

enum io_fault_op {
	IO_FAULT_CREATE,
	IO_FAULT_OPEN,
	IO_FAULT_GETATTR,
	IO_FAULT_READ, /* read, and each request of submit, in the order of the calls */
	IO_FAULT_OPS
};

/*
 * Let the @nth call from now on (1: the next) return -@error, once. A new order replaces the old;
 * nth 0 calls it off. A read that fails leaves garbage in the memory, as does a short one behind
 * what it read.
 */
void io_fault_fail(struct io_fault *io, enum io_fault_op op, uint64_t nth, int error);
/* Let the @nth read from now on end after @bytes, as if the file had just been truncated there. */
void io_fault_shorten(struct io_fault *io, uint64_t nth, uint64_t bytes);
/* Let about @rate in 65536 calls return -@error, chosen at random. 0 ends it. */
void io_fault_fail_randomly(struct io_fault *io, enum io_fault_op op, unsigned rate, int error);
/* Let every read that touches the range return -@error. One range a file; error 0 ends it. */
void io_fault_fail_range(struct io_fault_file *file, uint64_t offset, uint64_t len, int error);

/* ---- order ---- */

/*
 * Let no read go on until it is released. Callers of read wait, submitted requests stay in flight.
 */
void io_fault_hold(struct io_fault *io);
/*
 * Let @count of the reads that wait, or of the next ones, go on, chosen at random. UINT64_MAX: all,
 * and the hold ends.
 */
void io_fault_release(struct io_fault *io, uint64_t count);
/* Wait until at least @count reads are held. */
void io_fault_wait_held(struct io_fault *io, unsigned count);
/* Wait until no read is waiting or running and every complete has returned. */
void io_fault_wait_idle(struct io_fault *io);

/* ---- what happened ---- */

/* Calls since io_fault_new. */
uint64_t io_fault_calls(struct io_fault *io, enum io_fault_op op);
/* Bytes that reads asked for. */
uint64_t io_fault_bytes(struct io_fault *io);
/* Calls that failed or came short on command. */
uint64_t io_fault_injected(struct io_fault *io);
/* The most requests of submit that were in flight at once. */
unsigned io_fault_in_flight_max(struct io_fault *io);
/* Handles that are open. */
unsigned io_fault_opens(struct io_fault *io);

#endif
