/* SPDX-License-Identifier: BSD-2-Clause */
#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names to try. A name is taken while another process uses it. */
#define NAMES 100

/* ---- signals ---- */

/* The signals that end a process by default, and that users, terminals and limits send. */
static const int ending[] = {SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};

#define ENDING (sizeof(ending) / sizeof(ending[0]))

/* The file whose temporary name a signal removes. Changes while the signals are blocked. */
static const struct replacement *guarded;

static void remove_and_end(int signal)
{
	unlinkat(guarded->directory, guarded->temporary, 0);
	/* Ends the process after this function: SA_RESETHAND has restored the default action. */
	raise(signal);
}

static sigset_t ending_set(void)
{
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < ENDING; i++)
		sigaddset(&set, ending[i]);
	return set;
}

/*
 * Delay the signals while the temporary name and guarded change. No other thread receives them: the
 * library's threads block all signals, and the command has no other threads then.
 */
static sigset_t block(void)
{
	sigset_t set = ending_set(), before;

	pthread_sigmask(SIG_BLOCK, &set, &before);
	return before;
}

static void unblock(const sigset_t *before)
{
	int error = errno;

	pthread_sigmask(SIG_SETMASK, before, NULL);
	errno = error;
}

/* Replace the action `from` of the signals by `to`. An ignored signal stays ignored. */
static void change_action(void (*from)(int), void (*to)(int))
{
	struct sigaction action = {
		.sa_handler = to, .sa_mask = ending_set(), .sa_flags = SA_RESETHAND};
	struct sigaction old;
	size_t i;

	for (i = 0; i < ENDING; i++) {
		if (!sigaction(ending[i], NULL, &old) && old.sa_handler == from)
			sigaction(ending[i], &action, NULL);
	}
}

static void guard(const struct replacement *new)
{
	guarded = new;
	change_action(SIG_DFL, remove_and_end);
}

static void unguard(void)
{
	change_action(remove_and_end, SIG_DFL);
	guarded = NULL;
}

/* ---- names ---- */

static void path_of(int fd, char path[static 32])
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* Create the file under a temporary name, or give it one if it exists. False and errno. */
static bool name_temporary(struct replacement *new, mode_t mode)
{
	char path[32];
	unsigned i;
	bool good;

	path_of(new->fd, path);
	for (i = 0; i < NAMES; i++) {
		snprintf(new->temporary, sizeof(new->temporary), ".folio-tmp-%ld-%u",
			(long)getpid(), i);
		if (new->fd >= 0) {
			good = !linkat(
				AT_FDCWD, path, new->directory, new->temporary, AT_SYMLINK_FOLLOW);
		} else {
			new->fd = openat(new->directory, new->temporary,
				O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
			good = new->fd >= 0;
		}
		if (good)
			return true;
		if (errno != EEXIST)
			break;
	}
	new->temporary[0] = '\0';
	return false;
}

static void remove_temporary(struct replacement *new)
{
	int error = errno;

	if (new->temporary[0])
		unlinkat(new->directory, new->temporary, 0);
	new->temporary[0] = '\0';
	errno = error;
}

static bool create(struct replacement *new, mode_t mode)
{
	sigset_t before;
	char path[32];
	bool good;

	new->fd = openat(new->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (new->fd >= 0) {
		path_of(new->fd, path);
		if (!access(path, F_OK))
			return true;
		close(new->fd);
		new->fd = -1;
	}
	before = block();
	good = name_temporary(new, mode);
	if (good)
		guard(new);
	unblock(&before);
	return good;
}

/*
 * Find the path, the directory and the name in it. The kernel may refuse to follow a link, and did
 * not when the caller found the file old; but it does not know that realpath follows one. So what
 * realpath finds must be the same file. False and errno.
 */
static bool find_place(struct replacement *new, const char *name, const struct stat *old)
{
	struct stat found;
	char *copy, *slash;

	new->path = old ? realpath(name, NULL) : strdup(name);
	copy = new->path ? strdup(new->path) : NULL;
	if (!copy)
		return false;
	new->directory = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (new->directory < 0)
		return false;
	slash = strrchr(new->path, '/');
	new->name = slash ? slash + 1 : new->path;
	if (!*new->name) {
		errno = ENOTDIR;
		return false;
	}
	if (!old)
		return true;
	if (fstatat(new->directory, new->name, &found, AT_SYMLINK_NOFOLLOW))
		return false;
	if (found.st_dev == old->st_dev && found.st_ino == old->st_ino)
		return true;
	errno = ESTALE;
	return false;
}

bool replace_open(struct replacement *new, const char *name, const struct stat *old, mode_t mode)
{
	int error;

	*new = (struct replacement){.directory = -1, .fd = -1};
	/* Permission to replace a file in its directory is not permission to write it. */
	if (find_place(new, name, old) &&
		(!old || !faccessat(new->directory, new->name, W_OK, 0)) &&
		create(new, old ? 0600 : mode))
		return true;
	error = errno;
	replace_close(new);
	errno = error;
	return false;
}

bool replace_commit(struct replacement *new)
{
	/* Until the rename, a file without a name has a temporary one, too. */
	sigset_t before = block();
	bool good = (new->temporary[0] || name_temporary(new, 0)) &&
		    !renameat(new->directory, new->temporary, new->directory, new->name);

	if (good)
		new->temporary[0] = '\0';
	remove_temporary(new);
	unguard();
	unblock(&before);
	return good;
}

bool replace_sync(const struct replacement *new)
{
	int fd = openat(new->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;

	if (fd < 0 || fsync(fd))
		error = errno;
	if (fd >= 0)
		close(fd);
	/*
	 * The user may not read the directory, or its file system does not sync directories: sync
	 * all of the file system, if that is possible.
	 */
	if (error == EACCES || error == EINVAL || error == EOPNOTSUPP)
		error = syncfs(new->fd) && errno != EINVAL && errno != EOPNOTSUPP ? errno : 0;
	errno = error;
	return !error;
}

void replace_close(struct replacement *new)
{
	sigset_t before;

	if (!new->path)
		return;
	before = block();
	remove_temporary(new);
	unguard();
	unblock(&before);
	if (new->fd >= 0)
		close(new->fd);
	if (new->directory >= 0)
		close(new->directory);
	free(new->path);
	new->path = NULL;
}
