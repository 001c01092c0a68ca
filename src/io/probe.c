/* SPDX-License-Identifier: BSD-2-Clause */
/* probe.c - handles of files that are not opened (FOLIO_IO_PROBE). */
#include "io/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/open.h"

struct probe {
	/* fd: the program's; or one that only names the file; -1: none yet. */
	struct io_file file;
	const char *path; /* NULL: the program has opened the file as fd */
	int flags;
	struct stat st;
};

static int probe_new(const struct probe *probe, void **handle)
{
	struct probe *copy = malloc(sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	*copy = *probe;
	copy->file.probe = true;
	copy->file.block = S_ISBLK(copy->st.st_mode);
	*handle = &copy->file;
	return 0;
}

int io_probe_open(const char *path, int flags, void **handle)
{
	struct probe probe = {.file = {.fd = -1}, .path = path, .flags = flags};

	if (fstatat(AT_FDCWD, path, &probe.st, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return -errno;
	return probe_new(&probe, handle);
}

int io_probe_open_fd(int fd, const struct stat *st, void **handle)
{
	const struct probe probe = {.file = {.fd = fd}, .st = *st};

	return probe_new(&probe, handle);
}

void io_probe_close(struct io_file *file)
{
	struct probe *probe = (struct probe *)file;

	if (probe->path && file->fd >= 0)
		close(file->fd);
	free(probe);
}

/*
 * Get a descriptor of the file, if the path still names it, and its attributes as they are now.
 * Returns 0 or -errno.
 */
static int name_file(struct probe *probe)
{
	struct stat st;
	int fd;

	if (probe->file.fd >= 0)
		return open_check(probe->file.fd, &probe->st);
	fd = open_name(probe->path, probe->flags, &st);
	if (fd < 0)
		return fd;
	if (st.st_dev != probe->st.st_dev || st.st_ino != probe->st.st_ino) {
		close(fd);
		return -ESTALE;
	}
	probe->file.fd = fd;
	probe->st = st;
	return 0;
}

int io_probe_getattr(struct io_file *file, struct folio_io_attr *attr)
{
	const uint32_t needs_fd = FOLIO_IO_ATTR_ACCESS | FOLIO_IO_ATTR_HANDLE |
				  FOLIO_IO_ATTR_BTIME | FOLIO_IO_ATTR_GENERATION |
				  FOLIO_IO_ATTR_MOUNT;
	struct probe *probe = (struct probe *)file;
	int r = attr->wanted & needs_fd ? name_file(probe) : 0;

	/* Whoever has a descriptor may use it. */
	if (!r && attr->wanted & FOLIO_IO_ATTR_ACCESS && probe->path)
		r = open_allowed(file->fd, probe->flags, &probe->st);
	if (r)
		return r;
	io_attr_fill(file, &probe->st, attr);
	if (attr->wanted & FOLIO_IO_ATTR_ACCESS)
		attr->fields |= FOLIO_IO_ATTR_ACCESS;
	return 0;
}
