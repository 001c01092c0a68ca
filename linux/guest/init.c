// SPDX-License-Identifier: GPL-2.0-only
/*
 * init.c - the guest's first and only program. Its arguments are on the kernel's command line,
 * after "--":
 *
 *   boot                     reports that the kernel has booted
 *   kunit                    loads the KUnit module, whose results the kernel prints
 *   stress SECONDS SEED      see stress.c
 *   count                    see count.c
 *
 * After each it prints "folio: done" and switches the machine off.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "guest.h"

void say(const char *format, ...)
{
	static int kmsg = -1;
	char line[512];
	va_list arguments;
	int length;

	if (kmsg < 0)
		kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	/* One record of the kernel's log, so that lines of processes and the kernel never mix. */
	if (write(kmsg, line, length) != length)
		_exit(1);
}

bool set(const char *path, const char *format, ...)
{
	char text[256];
	va_list arguments;
	int fd = open(path, O_WRONLY), length, error;
	ssize_t written;

	if (fd < 0)
		return false;
	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	written = write(fd, text, length);
	error = errno;
	close(fd);
	errno = error;
	return written == length;
}

int load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0) < 0)
		error = -errno;
	close(fd);
	return error;
}

static void mount_on(const char *type, const char *path, const char *options)
{
	mkdir(path, 0755);
	if (mount(type, path, type, 0, options) < 0)
		say("folio: mount %s: %s", path, strerror(errno));
}

static void run(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "boot";
	struct utsname name;

	if (!strcmp(what, "boot")) {
		uname(&name);
		say("folio: booted %s %s", name.release, name.machine);
	} else if (!strcmp(what, "kunit")) {
		say("folio: module %d", load_module("/page_ref_kunit.ko"));
	} else if (!strcmp(what, "stress") && argc > 3) {
		say("folio: wrong %llu",
			(unsigned long long)stress(atoi(argv[2]), strtoull(argv[3], NULL, 0)));
	} else if (!strcmp(what, "count")) {
		count();
	} else {
		say("folio: unknown command: %s", what);
		return;
	}
	say("folio: done");
}

int main(int argc, char **argv)
{
	mount_on("devtmpfs", "/dev", "");
	mount_on("proc", "/proc", "");
	mount_on("sysfs", "/sys", "");
	mount_on("debugfs", "/sys/kernel/debug", "");
	run(argc, argv);
	reboot(RB_AUTOBOOT);
	return 1;
}
