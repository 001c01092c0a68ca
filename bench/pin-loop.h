/* SPDX-License-Identifier: BSD-2-Clause */
/* pin-loop.h - the interface of each module to pin-counters. */
#ifndef PIN_LOOP_H
#define PIN_LOOP_H

#include <stdint.h>

struct pin_loop {
	int (*open)(const char *path, void **file);
	/* Repeats count times: pin page 0, copy 64 bytes, put. Returns a sum of the data read. */
	uint64_t (*run)(void *file, uint64_t count);
};

#endif
