/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.h - what a subcommand is.
 *
 * A subcommand is a function of its own arguments (argv[0] is its name) that returns the exit status.
 * It is known by being in a table: main.c has the table of the command, bench.c that of the benchmarks.
 * What a subcommand wants is said with options.h; errors are said with complain.
 */
#ifndef FOLIO_TOOLS_COMMAND_H
#define FOLIO_TOOLS_COMMAND_H

#include <stdbool.h>
#include <sys/uio.h>

enum exit_status {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* the job could not be done, or found something wrong */
	STATUS_USAGE = 2,  /* the arguments make no sense; nothing was done */
};

struct command {
	const char *name;
	const char *summary; /* for --help */
	int (*run)(int argc, char **argv);
};

/* The entry of a table (which ends with a NULL name), or NULL. */
const struct command *command_find(const struct command *table, const char *name);

/* Of "folio bench": those that are called like a command. */
extern const struct command bench_commands[];

int bench_command(int argc, char **argv);
int bench_ref_command(int argc, char **argv);
int bench_write_command(int argc, char **argv);
int cat_command(int argc, char **argv);
int cp_command(int argc, char **argv);

/* One sentence on stderr, with "folio: " before it and a newline after it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether standard output is open for writing; false after a complaint. For a command before it touches anything. */
bool output_open_for_writing(void);

/*
 * Standard output takes everything, or the error is told; where its reader has gone, nothing is told. Changes iov. Not for
 * what stands beside printf.
 */
bool output_all(struct iovec *iov, unsigned count);

/* Make sure that what was printed has arrived. STATUS_OK, or STATUS_FAILED after a complaint. */
int finish_output(void);

#endif
