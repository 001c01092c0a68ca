/* SPDX-License-Identifier: BSD-2-Clause */
#include "metadata.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ACLs as attributes: that of POSIX, and that of NFS version 4, which not every kernel offers. */
#define ACL_POSIX  "system.posix_acl_access"
#define ACL_NFS4   "system.nfs4_acl"
#define CAPABILITY "security.capability"

/* An attribute, whose size the kernel limits. */
struct attribute {
	ssize_t size;
	_Alignas(8) char value[XATTR_SIZE_MAX];
};

static const char *describe(const char *what)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	return text;
}

/* False and errno if there is none, or if it cannot be read. */
static bool get(const struct original *from, const char *name, struct attribute *attribute)
{
	size_t most = sizeof(attribute->value);

	attribute->size = from->fd >= 0 ? fgetxattr(from->fd, name, attribute->value, most)
					: lgetxattr(from->path, name, attribute->value, most);
	return attribute->size >= 0;
}

static bool set(int fd, const char *name, const struct attribute *attribute)
{
	return !fsetxattr(fd, name, attribute->value, (size_t)attribute->size, 0);
}

/* After a failure: there is no such attribute, or the file system has none of the kind. */
static bool is_absent(void)
{
	return errno == ENODATA || errno == EOPNOTSUPP || errno == ENOSYS;
}

/* The entry of a POSIX ACL for all members of the file's group, or for others. */
static struct posix_acl_xattr_entry *find_entry(struct attribute *acl, unsigned tag)
{
	const size_t header = sizeof(struct posix_acl_xattr_header);
	struct posix_acl_xattr_entry *entry = (void *)(acl->value + header);
	size_t count = ((size_t)acl->size - header) / sizeof(*entry);

	for (; (size_t)acl->size > header && count > 0; count--, entry++) {
		if (le16toh(entry->e_tag) == tag)
			return entry;
	}
	return NULL;
}

/*
 * The file has another group than the original. Members of either group may be others now, and
 * others members. They all get what the original gave to both. Returns the mode.
 */
static mode_t narrow(mode_t mode, struct attribute *acl)
{
	struct posix_acl_xattr_entry *group = NULL, *others = NULL;
	mode_t both = mode >> 3 & mode & 07;

	if (acl->size >= 0) {
		group = find_entry(acl, ACL_GROUP_OBJ);
		others = find_entry(acl, ACL_OTHER);
	}
	if (!group || !others)
		return (mode & ~(mode_t)077) | both << 3 | both;
	/* In the mode, the bits of the group are the mask of the ACL. */
	group->e_perm &= others->e_perm;
	others->e_perm = group->e_perm;
	return (mode & ~(mode_t)07) | le16toh(others->e_perm);
}

/* Read mode, owner, group and ACL, which must be those of one file. NULL, or what has failed. */
static const char *get_access(const struct original *from, struct stat *stat, struct attribute *acl)
{
	struct stat named;

	if (from->fd >= 0 ? fstat(from->fd, stat)
			  : fstatat(from->directory, from->name, stat, AT_SYMLINK_NOFOLLOW))
		return strerror(errno);
	if (from->fd < 0 && !S_ISREG(stat->st_mode))
		return "it is no longer a regular file";
	if (!get(from, ACL_POSIX, acl) && !is_absent())
		return describe("its access control list cannot be read");
	if (from->fd < 0 && (lstat(from->path, &named) || named.st_dev != stat->st_dev ||
				    named.st_ino != stat->st_ino))
		return "its directory has been moved";
	return NULL;
}

const char *metadata_copy_access(const struct original *from, int fd)
{
	static struct attribute acl, nfs4;
	struct stat old, now;
	const char *reason = get_access(from, &old, &acl);
	mode_t mode;

	if (reason)
		return reason;
	mode = old.st_mode & 07777;
	if (fchown(fd, old.st_uid, old.st_gid) && fchown(fd, (uid_t)-1, old.st_gid))
		errno = 0; /* fstat shows the result */
	if (fstat(fd, &now))
		return strerror(errno);
	if (now.st_uid != old.st_uid || now.st_gid != old.st_gid)
		mode &= (mode_t) ~(S_ISUID | S_ISGID | S_ISVTX);
	if (now.st_gid != old.st_gid)
		mode = narrow(mode, &acl);
	/* Without an ACL of its own, the file must not keep the one that its directory gave it. */
	if (acl.size >= 0 ? !set(fd, ACL_POSIX, &acl) : fremovexattr(fd, ACL_POSIX) && !is_absent())
		return describe("its access control list cannot be set");
	if (fchmod(fd, mode))
		return strerror(errno);
	/* It names the owner and the group of the file by their roles. */
	if (now.st_uid == old.st_uid && now.st_gid == old.st_gid && get(from, ACL_NFS4, &nfs4) &&
		!set(fd, ACL_NFS4, &nfs4) && !is_absent())
		return describe("its access control list cannot be set");
	return NULL;
}

static const char *attribute_failed(const char *name)
{
	static char text[XATTR_NAME_MAX + 64];

	snprintf(text, sizeof(text), "the attribute %.*s cannot be copied: %s", XATTR_NAME_MAX,
		name, strerror(errno));
	return text;
}

const char *metadata_copy_attributes(const struct original *from, int fd)
{
	static struct attribute attribute;
	static char names[XATTR_LIST_MAX];
	ssize_t size = flistxattr(from->fd, names, sizeof(names));
	const char *name;

	if (size < 0)
		return is_absent() ? NULL : describe("its extended attributes cannot be read");
	for (name = names; name < names + size; name += strlen(name) + 1) {
		if (strncmp(name, "user.", 5))
			continue;
		if (get(from, name, &attribute) ? !set(fd, name, &attribute) : errno != ENODATA)
			return attribute_failed(name);
	}
	return NULL;
}

const char *metadata_copy_rest(const struct original *from, const struct stat *stat, int fd)
{
	const struct timespec times[2] = {stat->st_atim, stat->st_mtim};
	static struct attribute attribute;

	if (get(from, CAPABILITY, &attribute) ? !set(fd, CAPABILITY, &attribute) && errno != EPERM
					      : !is_absent())
		return attribute_failed(CAPABILITY);
	return futimens(fd, times) ? describe("its times cannot be set") : NULL;
}
