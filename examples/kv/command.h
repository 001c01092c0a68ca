/* SPDX-License-Identifier: BSD-2-Clause */
/* command.h - what the parts of the command share. */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include <stdint.h>

/* Prints a sentence and ends the program with 2. */
void usage(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Prints what failed and the error, and ends the program with 1. */
void fail(const char *what, int error) __attribute__((noreturn));
/* On a terminal: how far a long operation is. NULL ends the line. */
void progress(const char *what, uint64_t done);

/* kv bench, in bench.c. */
int command_bench(int argc, char **argv);

#endif
