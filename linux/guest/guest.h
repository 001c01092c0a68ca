/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guest.h - shared by the programs in the guest. They are one static executable, which the kernel
 * starts as init.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stdint.h>

/* Prints a line on the console, for linux/run. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes to a file of /proc or /sys. Returns false with errno set. */
bool set(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Loads a module of the initial file system. Returns 0 or -errno. */
int load_module(const char *path);

/**
 * stress - runs all actors for a while.
 * @seconds: duration.
 * @seed: seed of all random choices.
 *
 * Returns the number of bytes that were wrong.
 */
uint64_t stress(unsigned int seconds, uint64_t seed);

/* Counts instructions of system calls; only with -icount. */
void count(void);

#endif
