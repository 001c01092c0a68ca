/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.h - subcommands, messages and standard output.
 *
 * A subcommand is a function that takes its arguments (argv[0] is its name) and returns the exit
 * status. main.c lists the subcommands, and the benchmarks of "folio bench", in tables. A
 * subcommand describes its arguments with options.h and reports errors with complain.
 */
#ifndef FOLIO_TOOLS_COMMAND_H
#define FOLIO_TOOLS_COMMAND_H

#include <stdbool.h>
#include <sys/uio.h>

enum exit_status {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* an operation failed, or a check found an error */
	STATUS_USAGE = 2,  /* wrong arguments; nothing was done */
};

struct command {
	const char *name;
	const char *summary; /* for --help */
	int (*run)(int argc, char **argv);
};

int cat_command(int argc, char **argv);
int cp_command(int argc, char **argv);

/* Print one sentence on stderr, with "folio: " before it and a newline after it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * True if standard output is open for writing; false after a complaint. A command checks that
 * before it changes anything.
 */
bool output_open_for_writing(void);

/*
 * Write all of iov to standard output, not through stdio. Changes iov. False after a complaint;
 * without one if the reader of a pipe has closed it.
 */
bool output_all(struct iovec *iov, unsigned count);

/* Flush stdio. Returns STATUS_OK, or STATUS_FAILED after a complaint. */
int finish_output(void);

#endif
