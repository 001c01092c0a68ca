/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.h - the file handles of the library's own backends, and the choice of a backend.
 *
 * A handle has one file descriptor, which is read and written at explicit offsets only. It is
 * opened for direct I/O if the file allows that. If direct I/O turns out not to work, the handle
 * falls back to buffered I/O, for all threads at once and for good: O_DIRECT is cleared on the
 * descriptor, so that the file need not be opened again by a name that may now mean another file.
 * A single failure is no reason for that: io_file_run (attempt.c) has the rule.
 *
 * A file may end at any byte, but direct I/O writes whole blocks only. So a handle opened for
 * writing has a second descriptor, for buffered I/O: if a write ends inside a block, the part
 * before that block is written directly and the rest through the second descriptor. The kernel
 * keeps the two apart or in order: direct I/O waits for buffered I/O to the same pages. The
 * kernel's cache belongs to the inode, so a sync of either descriptor covers both.
 */
#ifndef FOLIO_SRC_IO_FILE_H
#define FOLIO_SRC_IO_FILE_H

#include <pthread.h>
#include <sys/stat.h>

#include <folio/atomic.h>
#include <folio/io.h>

/* The alignment of the memory, offsets and lengths of all I/O that a cache requests. */
#define IO_ALIGN 4096u

/* The first member of the context of each of these backends. */
struct io_backend {
	folio_u64 files_buffered; /* atomic: open handles that use buffered I/O */
};

struct io_file {
	/* Set at creation, never changed. */
	struct io_backend *backend;
	int fd;
	int buffered; /* the same file without O_DIRECT, for writes; -1: none */
	bool block;   /* a block device */
	bool blocks;  /* each read and write of it blocks: threads make them, not a ring */
	bool probe;   /* a file that is not opened (io/probe.h) */
	/* Largest offset that the file system has; 0: not queried yet (io/attr.c). */
	folio_u64 offset_max;
	/*
	 * Atomic: an enum folio_direct. FOLIO_DIRECT_USED: fd has O_DIRECT, and writing requires
	 * buffered >= 0; changes to FOLIO_DIRECT_REFUSED only.
	 */
	folio_u32 direct;
};

/* The functions of struct folio_io_ops that do not depend on how requests are executed. */
int io_file_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle);
int io_file_open_fd(void *context, int fd, int flags, unsigned io_flags, void **handle);
void io_file_close(void *context, void *handle);
int io_file_getattr(void *context, void *handle, struct folio_io_attr *attr);
/* Set the attributes of @attr that follow from @st, and those that are wanted in addition. */
void io_attr_fill(const struct io_file *file, const struct stat *st, struct folio_io_attr *attr);
ssize_t io_file_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset);
int io_file_sync(void *context, void *handle, unsigned sync_flags);
int io_file_flush(void *context, void *handle);
int io_file_truncate(void *context, void *handle, uint64_t size);
int io_file_punch(void *context, void *handle, uint64_t offset, uint64_t len);
void io_file_stat(void *context, struct folio_io_stat *stat);
unsigned io_file_direct_use(void *context, void *handle);

/*
 * Is the next attempt to read or write a direct one? Load it before each attempt, and judge the
 * attempt by the value loaded: another thread may switch the file to buffered I/O in between.
 *
 * acquire: pairs with the release in io_file_set_buffered; an attempt that begins as a buffered
 * one finds O_DIRECT cleared.
 */
static inline bool io_file_direct(struct io_file *file)
{
	return folio_u32_load_acquire(&file->direct) == FOLIO_DIRECT_USED;
}

/* Switch the file to buffered I/O, for good. Returns false if the kernel refuses. */
bool io_file_set_buffered(struct io_file *file);

/*
 * May a thread run the requests of a backend itself (io_file_run)? It may if they go to one of the
 * library's backends: a program that replaces submit, to count requests or to change them, sees all
 * of them.
 */
bool io_runs_requests(const struct folio_io_ops *ops);

/*
 * Choose one of the library's backends and create it: io_uring, or threads if io_uring cannot be
 * created. Returns 0, or the error of creating the threads backend.
 */
int io_choose(const struct folio_io_ops **ops, void **context, unsigned depth);

#endif
