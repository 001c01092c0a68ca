/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open.h - opening a descriptor of a regular file or a block device, and of nothing else.
 *
 * Opening another file can have effects, even if it is then refused: the writer of a FIFO gets
 * SIGPIPE, a tape rewinds, a watchdog starts. So the file is checked before it is opened, through a
 * descriptor that only names it (O_PATH), and then opened through that descriptor, so that it is
 * the same file.
 */
#ifndef FOLIO_SRC_IO_OPEN_H
#define FOLIO_SRC_IO_OPEN_H

#include <sys/stat.h>
#include <sys/types.h>

/*
 * Open @path as open(2) does with @flags and @mode, for buffered I/O and without O_NONBLOCK. Stores
 * the file's attributes in @st. Returns the descriptor, which is above 2 and closed on exec; or
 * -EISDIR for a directory, -EINVAL for another file that is refused, or -errno.
 */
int open_checked(const char *path, int flags, mode_t mode, struct stat *st);

/*
 * Open a descriptor that only names the file. To close it drops no POSIX lock. Results as
 * open_checked.
 */
int open_name(const char *path, int flags, struct stat *st);

/* Get the attributes of @fd, and check them as open_checked does. Returns 0 or -errno. */
int open_check(int fd, struct stat *st);

/* May the caller open the file that @fd names with @flags? Returns 0 or -errno. */
int open_allowed(int fd, int flags, const struct stat *st);

/*
 * Returns a descriptor that is good for nothing, or -errno. While it is open, another descriptor
 * can be had in its place.
 */
int open_reserve(void);

/*
 * Open the file of @fd again, with the access and sync flags in @flags, through the descriptor and
 * not by its name. Returns a descriptor as open_checked, or -errno. Fails without /proc, or if the
 * file's mode denies the access that @fd has.
 */
int open_again(int fd, int flags);

#endif
