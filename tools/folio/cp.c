/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cp.c - folio cp: copies a file through the cache. The copy is on the device when the command
 * succeeds.
 *
 * The copy is written to a new file, synced, and only then given the name (replace.h). DST is
 * unchanged or the complete copy, even if the command is killed or the power fails. With --in-place
 * the copy is written to DST itself. The file system reports the holes of SRC (SEEK_DATA); DST has
 * the same holes, since a range that is not written reads as zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <folio/cache.h>

#include "command.h"
#include "input.h"
#include "metadata.h"
#include "options.h"
#include "progress.h"
#include "replace.h"

#define BLOCK ((size_t)1 << 20)

static const char help[] =
	"usage: folio cp SRC DST [--cache SIZE] [--in-place] [--preserve]\n"
	"\n"
	"Copies SRC, a regular file or a block device, to DST through a cache inside the\n"
	"process, and syncs the copy. An existing file DST is replaced when the copy is\n"
	"complete and on the device; if that fails, DST is unchanged. Holes are kept.\n"
	"\n"
	"  --cache SIZE   memory for pages (default: 64M)\n"
	"  --in-place     write to an existing DST instead of replacing it\n"
	"  --preserve     give the copy mode, owner, times, access control list and\n"
	"                 extended attributes of SRC\n";

struct copy {
	const char *source, *target; /* as given by the user */
	bool in_place, preserve;
	int in, out;            /* descriptors of source and copy */
	struct stat from;       /* source when it was opened */
	bool exists;            /* target does */
	struct stat old;        /* target, if it exists */
	struct replacement new; /* unless an existing target is written in place */
	struct folio_cache *cache;
	struct folio_file *file_in, *file_out;
	uint64_t size; /* of source when it was opened */
};

/* Complain about one of the two names. False. */
static bool failed_because(const char *name, const char *reason)
{
	progress_end();
	complain("%s: %s", name, reason);
	return false;
}

static bool failed(const char *name, int error)
{
	return failed_because(name, strerror(error));
}

/* As failed, for the new file or its name. A target that can be written can be written in place. */
static bool cannot_replace(const struct copy *copy, int error)
{
	bool possible = error == EACCES || error == EBUSY || error == EPERM || error == EROFS;

	if (!copy->exists || !possible || access(copy->target, W_OK))
		return failed(copy->target, error);
	progress_end();
	complain("%s: cannot be replaced: %s; --in-place writes to it", copy->target,
		strerror(error));
	return false;
}

static bool open_source(struct copy *copy)
{
	const char *reason;

	copy->in = input_open(copy->source, O_RDONLY, &copy->from, &reason);
	return copy->in < 0 ? failed_because(copy->source, reason) : true;
}

/* Check that the copy may have the place of the old target. False after a complaint. */
static bool check_old(const struct copy *copy)
{
	if (copy->old.st_dev == copy->from.st_dev && copy->old.st_ino == copy->from.st_ino) {
		complain("%s and %s are the same file", copy->source, copy->target);
		return false;
	}
	if (S_ISDIR(copy->old.st_mode))
		return failed(copy->target, EISDIR);
	if (!S_ISREG(copy->old.st_mode))
		return failed_because(
			copy->target, "not a regular file, and cannot be replaced by one");
	return true;
}

/* Open the target itself, or create a file that replaces it. */
static bool open_target(struct copy *copy)
{
	/* Access that is copied later is not given before. */
	mode_t mode = copy->preserve                ? 0600
		      : S_ISREG(copy->from.st_mode) ? copy->from.st_mode & 0777
						    : 0666;

	copy->exists = !stat(copy->target, &copy->old);
	if (!copy->exists && errno != ENOENT)
		return failed(copy->target, errno);
	if (copy->exists && !check_old(copy))
		return false;
	if (copy->exists && copy->in_place) {
		copy->out = open(copy->target, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (copy->out < 0 || fcntl(copy->out, F_SETFL, 0) || fstat(copy->out, &copy->old))
			return failed(copy->target, errno);
		return check_old(copy);
	}
	if (!replace_open(&copy->new, copy->target, copy->exists ? &copy->old : NULL, mode))
		return cannot_replace(copy, errno);
	copy->out = copy->new.fd;
	return true;
}

/*
 * Open the file of a descriptor: the file that was checked, even if its name now means another. By
 * its path under /proc, the cache can have a descriptor of its own, for direct I/O. By the
 * descriptor, it does not need /proc, nor a mode that lets the user open the file again.
 */
static bool open_file(
	struct copy *copy, int fd, const char *name, int flags, struct folio_file **file)
{
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = folio_file_open(copy->cache, path, flags | O_CLOEXEC, 0, file);
	if (r)
		r = folio_file_open_fd(copy->cache, fd, flags, file);
	return r ? failed(name, -r) : true;
}

static bool open_files(struct copy *copy, struct folio_cache_params *params)
{
	int r = folio_cache_open(params, &copy->cache);

	if (r) {
		complain("cannot open a cache of %s: %s", size_about(params->bytes), strerror(-r));
		return false;
	}
	if (!open_file(copy, copy->in, copy->source, O_RDONLY, &copy->file_in) ||
		!open_file(copy, copy->out, copy->target, O_RDWR, &copy->file_out))
		return false;
	copy->size = folio_file_size(copy->file_in);
	/* Only a hint. */
	folio_file_advise(copy->file_in, FOLIO_ADVICE_SEQUENTIAL);
	return true;
}

/*
 * The next data at or after offset, and its end. The entire rest of the file if the file system
 * does not report holes.
 */
static uint64_t next_data(const struct copy *copy, uint64_t offset, uint64_t *end)
{
	off_t data = lseek(copy->in, (off_t)offset, SEEK_DATA), hole;

	*end = UINT64_MAX;
	if (data < 0)
		return errno == ENXIO && folio_file_size(copy->file_in) > offset
			       ? folio_file_size(copy->file_in)
			       : offset;
	hole = lseek(copy->in, data, SEEK_HOLE);
	if (hole > data)
		*end = (uint64_t)hole;
	return (uint64_t)data;
}

/* Copy up to the end that pread would report. */
static bool copy_bytes(struct copy *copy, char *buffer)
{
	uint64_t offset = 0, end = 0, shown = UINT64_MAX;
	ssize_t got, put;
	int r;

	/* Of a target that is written in place. */
	if (folio_file_size(copy->file_out)) {
		r = folio_file_truncate(copy->file_out, 0);
		if (r)
			return failed(copy->target, -r);
	}
	for (;;) {
		if (offset >= end)
			offset = next_data(copy, offset, &end);
		if (offset >> 24 != shown) {
			shown = offset >> 24;
			progress("copying %s: %" PRIu64 " %% of %s", copy->source,
				copy->size ? 100 * offset / copy->size : 100,
				size_about(copy->size));
		}
		got = folio_file_read(
			copy->file_in, buffer, end - offset < BLOCK ? end - offset : BLOCK, offset);
		if (got < 0)
			return failed(copy->source, (int)-got);
		if (got == 0)
			break;
		put = folio_file_write(copy->file_out, buffer, (size_t)got, offset);
		if (put < 0)
			return failed(copy->target, (int)-put);
		/* After a part of the block, the next write returns why it was not all. */
		offset += (uint64_t)put;
	}
	/* The file may end in a hole, and may have shrunk. */
	if (offset > folio_file_size(copy->file_in))
		offset = folio_file_size(copy->file_in);
	if (offset > folio_file_size(copy->file_out)) {
		r = folio_file_truncate(copy->file_out, offset);
		if (r)
			return failed(copy->target, -r);
	}
	return true;
}

/* Write all bytes, and make them durable. */
static bool copy_file(struct copy *copy)
{
	char *buffer = aligned_alloc(FOLIO_PAGE_SIZE, BLOCK);
	struct folio_file *out = copy->file_out;
	bool good;
	int r;

	if (!buffer)
		return failed(copy->target, ENOMEM);
	good = copy_bytes(copy, buffer);
	free(buffer);
	if (!good)
		return false;
	progress("syncing %s", copy->target);
	r = folio_file_sync(out, NULL, FOLIO_SYNC_DATA);
	if (r)
		return failed(copy->target, -r);
	copy->file_out = NULL;
	r = folio_file_abandon(out);
	return r ? failed(copy->target, -r) : true;
}

/*
 * Copy what the file has in addition to its contents, and make it durable. After the last write,
 * which sets the time of change, and clears the set-user-ID bit.
 */
static bool copy_metadata(const struct copy *copy)
{
	const struct original in = {.fd = copy->in};
	const struct original old = {.fd = -1,
		.path = copy->new.path,
		.name = copy->new.name,
		.directory = copy->new.directory};
	const char *reason = NULL;

	if (copy->preserve) {
		/* The umask, or the directory, may have denied it to the owner. */
		if (copy->out == copy->new.fd && fchmod(copy->out, 0600))
			return failed(copy->target, errno);
		reason = metadata_copy_attributes(&in, copy->out);
		if (!reason)
			reason = metadata_copy_access(&in, copy->out);
	} else if (copy->exists && !copy->in_place) {
		reason = metadata_copy_access(&old, copy->out);
	}
	if (!reason && copy->preserve)
		reason = metadata_copy_rest(&in, &copy->from, copy->out);
	if (reason)
		return failed_because(copy->target, reason);
	return fsync(copy->out) ? failed(copy->target, errno) : true;
}

/* The copy is complete and on the device: give it its name. */
static bool name_target(struct copy *copy)
{
	if (copy->out != copy->new.fd)
		return true;
	if (!replace_commit(&copy->new))
		return cannot_replace(copy, errno);
	if (replace_sync(&copy->new))
		return true;
	progress_end();
	complain("%s: copied, but may be lost if the power fails: %s", copy->target,
		strerror(errno));
	return false;
}

static void close_all(struct copy *copy)
{
	if (copy->file_out)
		folio_file_abandon(copy->file_out);
	if (copy->file_in)
		folio_file_close(copy->file_in);
	if (copy->cache)
		folio_cache_close(copy->cache);
	if (copy->in >= 0)
		close(copy->in);
	if (copy->out >= 0 && copy->out != copy->new.fd)
		close(copy->out);
	replace_close(&copy->new);
}

int cp_command(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = UINT64_C(64) << 20};
	struct copy copy = {.in = -1, .out = -1, .new = {.fd = -1}};
	const struct option_spec specs[] = {
		{"--cache", OPTION_SIZE, &params.bytes, FOLIO_CACHE_BYTES_MIN, INT64_MAX},
		{"--in-place", OPTION_FLAG, &copy.in_place, 0, 0},
		{"--preserve", OPTION_FLAG, &copy.preserve, 0, 0},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const struct option_set set = {"cp", specs, help, 2};
	const char *names[2] = {NULL, NULL};
	bool good;
	int status;

	status = options_parse(&set, argc, argv, names);
	if (status >= 0)
		return status;
	if (!names[1]) {
		complain("cp needs the names of a file and of its copy; 'folio cp --help' explains "
			 "it");
		return STATUS_USAGE;
	}
	copy.source = names[0];
	copy.target = names[1];
	good = open_source(&copy) && open_target(&copy) && open_files(&copy, &params) &&
	       copy_file(&copy) && copy_metadata(&copy) && name_target(&copy);
	progress_end();
	close_all(&copy);
	return good ? STATUS_OK : STATUS_FAILED;
}
