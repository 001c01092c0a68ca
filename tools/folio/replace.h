/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replace.h - a new file that gets its name when it is complete.
 *
 * The new file has no name while it is written (O_TMPFILE), or a temporary one where the file
 * system has no files without a name, or /proc is missing, through which they get one. Then it gets
 * the name of the file that it replaces, in one step. A signal that ends the process removes the
 * temporary name; after SIGKILL, it stays.
 */
#ifndef FOLIO_TOOLS_REPLACE_H
#define FOLIO_TOOLS_REPLACE_H

#include <stdbool.h>
#include <sys/stat.h>

/* Zero: not open. */
struct replacement {
	char *path;         /* the name that the new file will get; NULL: not open */
	const char *name;   /* its last part */
	int directory;      /* of path, O_PATH */
	int fd;             /* the new file, open for reading and writing */
	char temporary[48]; /* its name in directory until then; empty: none */
};

/*
 * Create a file to replace name. Of a link to a file, the file is replaced; a link to nothing is
 * itself replaced.
 * old: what stat(2) said of the file that has the name, or NULL if there is none. If there is one,
 * only the owner has access to the new file. Otherwise it gets mode, less what the umask or the
 * default access control list of the directory denies.
 * The new file will be in the directory that the name leads to now, even if that is moved.
 * At most one replacement at a time. False and errno: ESTALE if the name no longer means old.
 */
bool replace_open(struct replacement *new, const char *name, const struct stat *old, mode_t mode);

/* Give the new file its name. False and errno: then it has no name. */
bool replace_commit(struct replacement *new);

/* Make the name durable, after replace_commit. False and errno. */
bool replace_sync(const struct replacement *new);

/* Drop the new file, unless it has its name. */
void replace_close(struct replacement *new);

#endif
