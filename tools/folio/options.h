/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.h - the arguments of a subcommand, described by a table.
 *
 * An option is --name VALUE or --name=VALUE, anywhere among the operands; "--" ends the options.
 */
#ifndef FOLIO_TOOLS_OPTIONS_H
#define FOLIO_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG,    /* value: bool; has no argument */
	OPTION_SIZE,    /* value: uint64_t; bytes, with a suffix K M G T (powers of 1024) */
	OPTION_COUNT,   /* value: unsigned */
	OPTION_SECONDS, /* value: double, more than 0; min and max are integers */
	OPTION_STRING,  /* value: const char * */
};

struct option_spec {
	const char *name; /* with the dashes; NULL ends the table */
	enum option_kind kind;
	void *value;       /* unchanged unless the option is given */
	uint64_t min, max; /* of sizes, counts and seconds */
};

/* All arguments of a subcommand. */
struct option_set {
	const char *command; /* as the user called it ("bench ref"), for messages */
	const struct option_spec *specs;
	const char *help; /* printed for --help */
	unsigned operands_max;
};

/*
 * Parse argv[1..]. Stores up to operands_max operands; the rest of the array is left unchanged.
 * Returns -1 to continue; otherwise the exit status: 0 after --help, 2 after a complaint.
 */
int options_parse(const struct option_set *set, int argc, char **argv, const char **operands);

/* A number of bytes as an option takes it, exact: "64M", "4097". In one of a few static buffers. */
const char *size_text(uint64_t bytes);

/* A number of bytes, rounded: "256 MiB", "1.5 GiB". In one of a few static buffers. */
const char *size_about(uint64_t bytes);

#endif
