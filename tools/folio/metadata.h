/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metadata.h - what a file has in addition to its contents: owner, group, mode, access control
 * list (ACL), extended attributes, times.
 *
 * A copy never gives more access than the original. ACLs and extended attributes are copied byte
 * for byte, as the kernel presents them, so no library is needed for them.
 */
#ifndef FOLIO_TOOLS_METADATA_H
#define FOLIO_TOOLS_METADATA_H

#include <sys/stat.h>

/* The file to copy from. */
struct original {
	int fd;           /* or -1: it has none, because the user may not read the file */
	const char *path; /* used if fd is -1; its last part is */
	const char *name; /* the name of the file in */
	int directory;    /* which may have been moved: then access is not copied */
};

/*
 * Give the file fd the owner, group, mode and ACL that from has now: what was taken away while the
 * contents were copied stays taken away. Where the kernel does not let the user set the owner or
 * the group, the copy stays the user's, without the set-user-ID, set-group-ID and sticky bits;
 * without the group, its new group and others only get what both had.
 * Returns NULL, or what has failed.
 */
const char *metadata_copy_access(const struct original *from, int fd);

/*
 * Give the file fd the extended attributes of user programs (user.*) of from, which has a
 * descriptor. The mode of fd must let its owner write, even though fd is open for writing: so call
 * this before metadata_copy_access. Returns NULL, or what has failed.
 */
const char *metadata_copy_attributes(const struct original *from, int fd);

/*
 * Give the file fd also the capabilities of from, which has a descriptor, if the user may set them,
 * and then the times in stat. To be called after metadata_copy_access, which removes capabilities,
 * and after the last write. Returns NULL, or what has failed.
 */
const char *metadata_copy_rest(const struct original *from, const struct stat *stat, int fd);

#endif
