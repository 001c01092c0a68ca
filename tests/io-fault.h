/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io-fault.h - a test backend. Its files need no disk; on command its reads fail, are delayed,
 * complete in any order or return fewer bytes.
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
 * The backend ends the program if the cache reads past the end of a file, submits a request again
 * that is still in flight, or leaves a handle open. Files are on two devices in turn: the first
 * files of both have the same inode number.
 *
 * One struct io_fault may serve several caches, one at a time, and must outlive them. Every
 * function except io_fault_free may be called from any thread at any time.
 */
#ifndef FOLIO_TESTS_IO_FAULT_H
#define FOLIO_TESTS_IO_FAULT_H

#include <folio/io.h>

extern const struct folio_io_ops io_fault_ops;

struct io_fault;
struct io_fault_file;

/*
 * @seed: seeds the order of completion and the random failures. @threads: the number of threads
 * that run the reads. They live from create to destroy, and each picks any waiting read. With 0,
 * reads run at once on the calling thread, submitted reads complete before submit returns, and
 * reads cannot be held.
 */
struct io_fault *io_fault_new(uint64_t seed, unsigned threads);
void io_fault_free(struct io_fault *io);

/* ---- files ---- */

/*
 * Adds a file under a name. Its contents are a function of the file, its generation (1 at first),
 * the page and the offset in the page: a reader can check every single byte, and a file of 2^63 - 1
 * bytes costs nothing. If the name exists, it now means the new file, which has another inode; open
 * handles keep the old file. At most 255 files.
 */
struct io_fault_file *io_fault_add(struct io_fault *io, const char *path, uint64_t size);

/* Adds a file whose bytes belong to the test. They must not change or move. */
struct io_fault_file *io_fault_add_bytes(
	struct io_fault *io, const char *path, const void *bytes, uint64_t size);

/*
 * Sets a new size and a new time of change and keeps the contents. A file of io_fault_add_bytes may
 * not exceed its first size.
 */
void io_fault_resize(struct io_fault_file *file, uint64_t size);
/*
 * A cache that reads past the page of this byte has ignored a size that it knows. At first, and
 * whenever the file exceeds it, this is the size of the file.
 */
void io_fault_set_end(struct io_fault_file *file, uint64_t end);
/* The file's number for folio_file_open_fd, under any name. It need not be closed. */
int io_fault_fd(const struct io_fault_file *file);
/* New contents and a new time of change. Returns the new generation. At most 2^24 - 1. */
uint64_t io_fault_change(struct io_fault_file *file);
uint64_t io_fault_generation(struct io_fault_file *file);

/* The word (host order) at @offset, a multiple of 8, in one generation of an io_fault_add file. */
uint64_t io_fault_word(const struct io_fault_file *file, uint64_t generation, uint64_t offset);

/*
 * True if each page of @data equals, byte by byte, what the file had at @offset in some generation.
 * The size is not checked. @oldest, @newest (may be NULL): the generations found; oldest > newest
 * when @len is 0.
 */
bool io_fault_check(struct io_fault_file *file, uint64_t offset, const void *data, size_t len,
	uint64_t *oldest, uint64_t *newest);

/* ---- failures ---- */

enum io_fault_op {
	IO_FAULT_CREATE,
	IO_FAULT_OPEN,
	IO_FAULT_GETATTR,
	IO_FAULT_READ, /* read, and each request of submit, in call order */
	IO_FAULT_OPS
};

/*
 * The @nth call from now on (1: the next) returns -@error, once. A later call replaces an earlier
 * one; nth 0 cancels it. A failed read leaves garbage in the buffer; a short read leaves garbage
 * past the bytes that it read.
 */
void io_fault_fail(struct io_fault *io, enum io_fault_op op, uint64_t nth, int error);
/* The @nth read from now on ends after @bytes, as if the file had just been truncated there. */
void io_fault_shorten(struct io_fault *io, uint64_t nth, uint64_t bytes);
/* About @rate in 65536 calls, chosen at random, return -@error. 0 ends it. */
void io_fault_fail_randomly(struct io_fault *io, enum io_fault_op op, unsigned rate, int error);
/* Every read that touches the range returns -@error. One range per file; error 0 ends it. */
void io_fault_fail_range(struct io_fault_file *file, uint64_t offset, uint64_t len, int error);

/* ---- order ---- */

/*
 * No read proceeds until it is released. Callers of read wait; submitted requests stay in flight.
 */
void io_fault_hold(struct io_fault *io);
/*
 * Lets @count reads proceed, chosen at random among those that wait now or arrive later. UINT64_MAX
 * lets all proceed and ends the hold.
 */
void io_fault_release(struct io_fault *io, uint64_t count);
/* Waits until at least @count reads are held. */
void io_fault_wait_held(struct io_fault *io, unsigned count);
/* Waits until no read is waiting or running and every complete has returned. */
void io_fault_wait_idle(struct io_fault *io);

/* ---- what happened ---- */

/* Calls since io_fault_new. */
uint64_t io_fault_calls(struct io_fault *io, enum io_fault_op op);
/* Bytes that reads requested. */
uint64_t io_fault_bytes(struct io_fault *io);
/* Calls that failed or were shortened on command. */
uint64_t io_fault_injected(struct io_fault *io);
/* The most submitted requests that were in flight at once. */
unsigned io_fault_in_flight_max(struct io_fault *io);
/* Open handles, those of probes included. */
unsigned io_fault_opens(struct io_fault *io);

#endif
