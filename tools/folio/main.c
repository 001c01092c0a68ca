/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - the folio command: finds the subcommand and hands over.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <folio/cache.h>

#include "command.h"

static int help_command(int argc, char **argv);

static const struct command commands[] = {
	{"bench",
		"verify a file through the cache, then measure reads or writes against the "
		"kernel's",
		bench_command},
	{"cat", "write a file to standard output through the cache", cat_command},
	{"cp", "copy a file through the cache; it is on the device when the command ends",
		cp_command},
	{"help", "explain the command, or one of the above", help_command},
	{NULL, NULL, NULL},
};

void complain(const char *format, ...)
{
	va_list args;

	/* What was printed before comes first where both go to the same place. */
	fflush(stdout);
	va_start(args, format);
	fputs("folio: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

bool output_open_for_writing(void)
{
	int flags = fcntl(STDOUT_FILENO, F_GETFL);

	if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
		return true;
	complain("cannot write to standard output: %s", strerror(EBADF));
	return false;
}

bool output_all(struct iovec *iov, unsigned count)
{
	ssize_t written;

	while (count) {
		written = writev(STDOUT_FILENO, iov, (int)(count < IOV_MAX ? count : IOV_MAX));
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&wait, 1, -1);
			continue;
		}
		if (written < 0) {
			/* Who reads went away: as it wants. */
			if (errno != EPIPE)
				complain("cannot write to standard output: %s", strerror(errno));
			return false;
		}
		while (count && (size_t)written >= iov->iov_len) {
			written -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count) {
			iov->iov_base = (char *)iov->iov_base + written;
			iov->iov_len -= (size_t)written;
		}
	}
	return true;
}

int finish_output(void)
{
	errno = 0;
	if (!ferror(stdout) && fflush(stdout) == 0)
		return STATUS_OK;
	/* A reader that went away knows it; saying so is noise. */
	if (errno != EPIPE)
		complain("cannot write to standard output: %s", strerror(errno ? errno : EIO));
	return STATUS_FAILED;
}

const struct command *command_find(const struct command *table, const char *name)
{
	for (; table->name; table++) {
		if (!strcmp(table->name, name))
			return table;
	}
	return NULL;
}

static int print_help(void)
{
	const struct command *command;

	printf("usage: folio COMMAND [ARGUMENT...]\n"
	       "\n"
	       "Reads and writes files through a page cache that lives in this process, under a "
	       "memory budget.\n"
	       "\n"
	       "commands:\n");
	for (command = commands; command->name; command++)
		printf("  %-8s %s\n", command->name, command->summary);
	printf("\n"
	       "options:\n"
	       "  --help     this text; 'folio COMMAND --help' explains a command\n"
	       "  --version  the version of the command and of the library\n"
	       "\n"
	       "exit status: 0 when all went well, 1 when it did not, 2 for wrong arguments\n");
	return finish_output();
}

static int print_version(void)
{
	/* The library is linked at run time and need not be the one that this was built with. */
	if (strcmp(FOLIO_VERSION, folio_version()))
		printf("folio %s (library %s)\n", FOLIO_VERSION, folio_version());
	else
		printf("folio %s\n", FOLIO_VERSION);
	return finish_output();
}

/* "folio help bench ref" is "folio bench ref --help". */
static int help_command(int argc, char **argv)
{
	const struct command *command;
	char *help_argv[4];
	int help_argc = 0;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
		return print_help();
	command = command_find(commands, argv[1]);
	if (!command) {
		complain("there is no command '%s' to explain; 'folio --help' lists them", argv[1]);
		return STATUS_USAGE;
	}
	if (argc > 3 || (argc == 3 && command->run != bench_command)) {
		complain("help wants the name of one command, not '%s' after it",
			argv[argc > 3 ? 3 : 2]);
		return STATUS_USAGE;
	}
	if (argc == 3 && !command_find(bench_commands, argv[2])) {
		complain("there is no command 'bench %s' to explain; 'folio bench --help' lists "
			 "what there is",
			argv[2]);
		return STATUS_USAGE;
	}
	while (help_argc + 1 < argc) {
		help_argv[help_argc] = argv[help_argc + 1];
		help_argc++;
	}
	help_argv[help_argc++] = (char *)"--help";
	help_argv[help_argc] = NULL;
	return command->run(help_argc, help_argv);
}

/*
 * Where a standard descriptor is closed the next file that is opened gets its number, and what is printed. They are opened the
 * wrong way round, so that who uses one is told that it is not to be used.
 */
static bool open_standard_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 &&
			open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const struct command *command;
	bool help;

	if (!open_standard_descriptors())
		return STATUS_FAILED;
	if (argc < 2) {
		complain("no command given; 'folio --help' lists them");
		return STATUS_USAGE;
	}
	help = !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h");
	if (help || !strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		if (argc > 2) {
			complain("%s takes no argument, such as '%s'", argv[1], argv[2]);
			return STATUS_USAGE;
		}
		return help ? print_help() : print_version();
	}
	command = command_find(commands, argv[1]);
	if (!command) {
		complain("there is no %s '%s'; 'folio --help' lists them",
			argv[1][0] == '-' ? "option" : "command", argv[1]);
		return STATUS_USAGE;
	}
	return command->run(argc - 1, argv + 1);
}
