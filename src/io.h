/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.h - what the library's own backends share.
 *
 * A handle is one descriptor, read and written by offset only. It is opened for direct I/O where the file
 * allows and falls back to buffered I/O, for all threads at once and for ever, when that turns out
 * not to work: the flag is taken off the descriptor, so that nothing has to be opened again by a
 * name that may have changed its meaning.
 *
 * A file that is written ends anywhere, and direct I/O in whole blocks only. So a handle for writing has a second
 * descriptor, for buffered I/O: of a write that ends inside a block, the part before that block goes the direct way and
 * the rest by the second. The kernel keeps the two apart or in order: what is direct waits for what is buffered of the
 * same pages. What is in the kernel's cache belongs to the inode, so a sync of either descriptor is one of both.
 */
#ifndef FOLIO_SRC_IO_H
#define FOLIO_SRC_IO_H

#include <pthread.h>

#include <folio/atomic.h>
#include <folio/io.h>

/* The alignment of everything that a cache asks for: of memory, offsets and lengths. */
#define IO_ALIGN 4096u

struct io_file {
	int fd;       /* set at creation, never changed */
	int buffered; /* so is this: the same file without O_DIRECT, for writes; -1: there is none */
	bool block;   /* so is this: a block device */
	folio_u32
		direct; /* 1: O_DIRECT is set on fd; only ever goes to 0. With buffered < 0, nothing is written then */
};

/* The functions of the table that have nothing to do with how requests are run. */
int io_file_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle);
void io_file_close(void *context, void *handle);
int io_file_getattr(void *context, void *handle, struct folio_io_attr *attr);
ssize_t io_file_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset);
int io_file_sync(void *context, void *handle, unsigned sync_flags);
int io_file_truncate(void *context, void *handle, uint64_t size);
int io_file_punch(void *context, void *handle, uint64_t offset, uint64_t len);

/* Run a request to its end on the calling thread. Returns what complete is to be told. */
ssize_t io_file_run(const struct folio_io_request *request);

/*
 * How an attempt to read or write is to be made. Loaded before each attempt; what the attempt came to is
 * judged by it, since another thread may have taken the file to buffered I/O meanwhile.
 *
 * acquire: pairs with the release in io_file_repeat; an attempt that was begun as buffered finds
 * O_DIRECT gone.
 */
static inline bool io_file_direct(struct io_file *file)
{
	return folio_u32_load_acquire(&file->direct);
}

/*
 * Judge one attempt to read (@op) or write @wanted bytes at @offset, of which @done were there before.
 * @direct: whether the attempt was a direct one: io_attempt.direct.
 * @result: in: what the attempt came to, bytes or -errno; out, if false is returned: what the whole
 * came to. An error after some bytes is an error: a page read by half is worth nothing, and one written by half is
 * written again.
 *
 * Returns true when the rest is to be read or written, from the @done that is now stored.
 */
bool io_file_repeat(struct io_file *file, uint32_t op, uint64_t offset, size_t wanted, bool direct,
	size_t *done, ssize_t *result);

/* What is left of a vector: either its last elements, or the end of one element alone. */
struct io_rest {
	const struct iovec *iov; /* into the vector, or &part */
	unsigned count;
	struct iovec part;
};

size_t io_length(const struct iovec *iov, unsigned count);

/* What is left after @done bytes. Repeated until the end it covers all, and needs no memory. */
void io_rest(struct io_rest *rest, const struct iovec *iov, unsigned count, size_t done);

/* One attempt at what is left of a request after @done bytes, or at the part of it that goes in one piece. */
struct io_attempt {
	struct io_rest rest;
	uint64_t offset;
	int fd;
	bool direct;
};

void io_attempt(struct io_attempt *attempt, const struct folio_io_request *request, size_t done);

/* Start a thread that takes no signals. Returns 0 or -errno. */
int io_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/*
 * Choose a backend of the library and create it: io_uring, or threads where the system denies it.
 * Returns 0 or what the creation of threads returned.
 */
int io_choose(const struct folio_io_ops **ops, void **context, unsigned depth);

#endif
