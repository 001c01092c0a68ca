/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cp.c - folio cp: a copy of a file, through the cache, that is on the device when the command says so.
 *
 * The copy is made in a file without a name beside DST, synced, and only then given the name: DST is what it was, or all
 * of the copy, also when the command is killed or the power goes. That a hole of SRC is one of DST is asked of
 * the file system (SEEK_DATA): what is not written there reads as zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <folio/cache.h>

#include "command.h"
#include "input.h"
#include "options.h"
#include "progress.h"

#define BLOCK ((size_t)1 << 20)
/* Names that are tried for the copy where DST is there already: another of the same would be another copy just now. */
#define NAMES 100

static const char help[] =
	"usage: folio cp SRC DST [--cache SIZE]\n"
	"\n"
	"Copies SRC, a regular file or a block device, to DST through a cache of its own, and "
	"syncs\n"
	"it. A file that DST names is replaced when the copy is whole and on the device, and is\n"
	"as it was if that fails. Holes stay holes.\n"
	"\n"
	"  --cache SIZE   memory for pages (default: 64M)\n";

struct copy {
	const char *source, *target; /* as they were given */
	char *place;                 /* target where it is a link: what it leads to */
	char *directory;             /* that has place */
	int in, out, at;             /* descriptors of source, of the copy, and of directory */
	char *temporary;             /* the copy's name in directory; NULL: it has none yet */
	bool exists;                 /* place does */
	mode_t mode;                 /* for the copy */
	uid_t owner;                 /* where place exists: whose it is, and so the copy */
	gid_t group;
	struct folio_cache *cache;
	struct folio_file *from, *to;
	uint64_t size; /* of source, as far as is known */
};

/* False after a complaint about one of the two names. */
static bool failed(const char *name, int error)
{
	progress_end();
	complain("%s: %s", name, strerror(error));
	return false;
}

static bool open_source(struct copy *copy, struct stat *in)
{
	const char *reason;

	copy->in = open(copy->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (copy->in < 0)
		return failed(copy->source, errno);
	reason = input_objection(copy->in, in);
	if (!reason)
		return true;
	complain("%s: %s", copy->source, reason);
	return false;
}

/* What is in the way of the copy, and which mode it is to have. False after a complaint. */
static bool look_at_target(struct copy *copy, const struct stat *in)
{
	struct stat out;
	mode_t mask = umask(0);
	char *name;

	umask(mask);
	copy->mode = S_ISREG(in->st_mode) ? in->st_mode & 0777 & ~mask : 0666 & ~mask;
	copy->exists = !stat(copy->target, &out);
	if (!copy->exists && errno != ENOENT)
		return failed(copy->target, errno);
	if (copy->exists && out.st_dev == in->st_dev && out.st_ino == in->st_ino) {
		complain("%s and %s are the same file", copy->source, copy->target);
		return false;
	}
	if (copy->exists && S_ISDIR(out.st_mode))
		return failed(copy->target, EISDIR);
	if (copy->exists && !S_ISREG(out.st_mode)) {
		complain("%s: not a regular file, and not to be replaced by one", copy->target);
		return false;
	}
	/* A link stays, and what it leads to is replaced. One that leads nowhere is taken for the name itself. */
	copy->place = copy->exists ? realpath(copy->target, NULL) : strdup(copy->target);
	name = copy->place ? strdup(copy->place) : NULL;
	if (name)
		copy->directory = strdup(dirname(name));
	free(name);
	if (!copy->directory)
		return failed(copy->target, errno);
	if (copy->exists) {
		copy->mode = out.st_mode & 07777;
		copy->owner = out.st_uid;
		copy->group = out.st_gid;
		/* As for any program that writes to it: the directory's leave to replace it is not the file's. */
		if (access(copy->place, W_OK))
			return failed(copy->target, errno);
	}
	return true;
}

/* Not every file system has files without a name. */
static bool create_target(struct copy *copy)
{
	copy->at = open(copy->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy->at < 0)
		return failed(copy->target, errno);
	copy->out = open(copy->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (copy->out >= 0)
		return true;
	if (asprintf(&copy->temporary, "%s/.folio-cp-XXXXXX", copy->directory) < 0)
		copy->temporary = NULL;
	else
		copy->out = mkostemp(copy->temporary, O_CLOEXEC);
	if (copy->out >= 0)
		return true;
	free(copy->temporary);
	copy->temporary = NULL;
	return failed(copy->target, errno);
}

/* Both by their descriptors: the files that were looked at, whatever their names have come to mean. */
static bool open_files(struct copy *copy, struct folio_cache_params *params)
{
	char path[32];
	int r;

	r = folio_cache_open(params, &copy->cache);
	if (r) {
		complain("cannot open a cache of %s: %s", size_about(params->bytes), strerror(-r));
		return false;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy->in);
	r = folio_file_open(copy->cache, path, O_RDONLY | O_CLOEXEC, 0, &copy->from);
	if (r)
		return failed(copy->source, -r);
	copy->size = folio_file_size(copy->from);
	/* Only a hint. */
	folio_file_advise(copy->from, FOLIO_ADVICE_SEQUENTIAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy->out);
	r = folio_file_open(copy->cache, path, O_RDWR | O_CLOEXEC, 0, &copy->to);
	return r ? failed(copy->target, -r) : true;
}

/* Where the next data are from offset on, and where they end; all of the rest, where the file system does not say. */
static uint64_t next_data(const struct copy *copy, uint64_t offset, uint64_t *end)
{
	off_t data = lseek(copy->in, (off_t)offset, SEEK_DATA), hole;

	*end = UINT64_MAX;
	if (data < 0)
		return errno == ENXIO && folio_file_size(copy->from) > offset
			       ? folio_file_size(copy->from)
			       : offset;
	hole = lseek(copy->in, data, SEEK_HOLE);
	if (hole > data)
		*end = (uint64_t)hole;
	return (uint64_t)data;
}

/* All of it, as pread says where it ends. */
static bool copy_bytes(struct copy *copy, char *buffer)
{
	uint64_t offset = 0, end = 0, shown = UINT64_MAX;
	ssize_t got, put;
	int r;

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
			copy->from, buffer, end - offset < BLOCK ? end - offset : BLOCK, offset);
		if (got < 0)
			return failed(copy->source, (int)-got);
		if (got == 0)
			break;
		put = folio_file_write(copy->to, buffer, (size_t)got, offset);
		if (put != got)
			return failed(copy->target, put < 0 ? (int)-put : EIO);
		offset += (uint64_t)got;
	}
	/* Its end may be a hole, too; and may have come nearer. */
	if (offset > folio_file_size(copy->from))
		offset = folio_file_size(copy->from);
	if (offset > folio_file_size(copy->to)) {
		r = folio_file_truncate(copy->to, offset);
		if (r)
			return failed(copy->target, -r);
	}
	return true;
}

/*
 * As the file had them that is replaced. Who may not give the copy to its owner keeps it, without the bits that would lend
 * his own rights to whoever runs it.
 */
static bool give_owner_and_mode(struct copy *copy)
{
	struct stat out;

	if (copy->exists) {
		if (fchown(copy->out, copy->owner, copy->group) &&
			fchown(copy->out, (uid_t)-1, copy->group))
			errno = 0; /* what has come of it is looked at */
		if (fstat(copy->out, &out))
			return false;
		if (out.st_uid != copy->owner || out.st_gid != copy->group)
			copy->mode &= (mode_t) ~(S_ISUID | S_ISGID | S_ISVTX);
	}
	return !fchmod(copy->out, copy->mode);
}

static bool copy_file(struct copy *copy)
{
	char *buffer = aligned_alloc(FOLIO_PAGE_SIZE, BLOCK);
	struct folio_file *to;
	bool good;
	int r;

	if (!buffer)
		return failed(copy->target, ENOMEM);
	good = copy_bytes(copy, buffer);
	free(buffer);
	if (!good)
		return false;
	if (!give_owner_and_mode(copy))
		return failed(copy->target, errno);
	progress("syncing %s", copy->target);
	r = folio_file_sync(copy->to, NULL, 0);
	if (r)
		return failed(copy->target, -r);
	to = copy->to;
	copy->to = NULL;
	r = folio_file_abandon(to);
	return r ? failed(copy->target, -r) : true;
}

/* A name for the copy, in the directory, that nobody has. */
static bool link_temporary(struct copy *copy, const char *path)
{
	unsigned i;

	for (i = 0; i < NAMES; i++) {
		if (asprintf(&copy->temporary, "%s/.folio-cp-%ld-%u", copy->directory,
			    (long)getpid(), i) < 0) {
			copy->temporary = NULL;
			errno = ENOMEM;
			return false;
		}
		if (!linkat(AT_FDCWD, path, AT_FDCWD, copy->temporary, AT_SYMLINK_FOLLOW))
			return true;
		free(copy->temporary);
		copy->temporary = NULL;
		if (errno != EEXIST)
			return false;
	}
	return false;
}

/* The copy is whole and on the device: now it is DST, and the directory is made to know it for good. */
static bool name_target(struct copy *copy)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy->out);
	if (!copy->temporary && !link_temporary(copy, path))
		return failed(copy->target, errno);
	if (rename(copy->temporary, copy->place))
		return failed(copy->target, errno);
	free(copy->temporary);
	copy->temporary = NULL;
	if (fsync(copy->at)) {
		progress_end();
		complain("%s: is there, but perhaps not after a power cut: %s", copy->target,
			strerror(errno));
		return false;
	}
	return true;
}

static void close_all(struct copy *copy)
{
	if (copy->temporary)
		unlink(copy->temporary);
	free(copy->temporary);
	if (copy->to)
		folio_file_abandon(copy->to);
	if (copy->from)
		folio_file_close(copy->from);
	if (copy->cache)
		folio_cache_close(copy->cache);
	if (copy->in >= 0)
		close(copy->in);
	if (copy->out >= 0)
		close(copy->out);
	if (copy->at >= 0)
		close(copy->at);
	free(copy->place);
	free(copy->directory);
}

int cp_command(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = UINT64_C(64) << 20};
	struct copy copy = {.in = -1, .out = -1, .at = -1};
	const struct option_spec specs[] = {
		{"--cache", OPTION_SIZE, &params.bytes, FOLIO_CACHE_BYTES_MIN, INT64_MAX},
		{NULL, OPTION_FLAG, NULL, 0, 0},
	};
	const char *names[2] = {NULL, NULL};
	struct stat in;
	bool good;
	int status;

	status = options_parse("cp", specs, help, argc, argv, names, 2);
	if (status >= 0)
		return status;
	if (!names[1]) {
		complain("cp wants the names of a file and of its copy; 'folio cp --help' explains "
			 "it");
		return STATUS_USAGE;
	}
	copy.source = names[0];
	copy.target = names[1];
	good = open_source(&copy, &in) && look_at_target(&copy, &in) && create_target(&copy) &&
	       open_files(&copy, &params) && copy_file(&copy) && name_target(&copy);
	progress_end();
	close_all(&copy);
	return good ? STATUS_OK : STATUS_FAILED;
}
