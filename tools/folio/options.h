/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.h - arguments of a subcommand, described by a table.
 *
 * An option is --name VALUE or --name=VALUE, anywhere among the operands; "--" ends the options.
 */
#ifndef FOLIO_TOOLS_OPTIONS_H
#define FOLIO_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG,    /* value: bool; takes no argument */
	OPTION_SIZE,    /* value: uint64_t; bytes, with a suffix K M G T (powers of 1024) */
	OPTION_COUNT,   /* value: unsigned */
	OPTION_SECONDS, /* value: double; min and max are whole seconds, more than 0 in any case */
	OPTION_STRING,  /* value: const char * */
};

struct option_spec {
	const char *name; /* with the dashes; NULL ends the table */
	enum option_kind kind;
	void *value;       /* untouched unless the option is given */
	uint64_t min, max; /* of sizes, counts and seconds */
};

/*
 * Parse argv[1..]. command: how the user called it ("bench ref"), for messages. help: printed for --help.
 * operands: up to operands_max are stored, the rest of the array is left alone.
 *
 * Returns -1 to go on; otherwise the exit status to end with: 0 after --help, 2 after a complaint.
 */
int options_parse(const char *command, const struct option_spec *specs, const char *help, int argc,
	char **argv, const char **operands, unsigned operands_max);

/* Bytes as an option takes them, exact: "64M", "4097". In one of a few static buffers. */
const char *size_text(uint64_t bytes);

/* Bytes as people say them: "256 MiB", "1.5 GiB". In one of a few static buffers. */
const char *size_about(uint64_t bytes);

#endif
