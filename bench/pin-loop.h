/* SPDX-License-Identifier: BSD-2-Clause */
/* pin-loop.h - what each build of the library offers to pin-counters. */
#ifndef PIN_LOOP_H
#define PIN_LOOP_H

#include <stdint.h>

struct pin_loop {
	int (*open)(const char *path, void **file);
	/* count times: pin page 0, copy 64 bytes, put. Returns a sum of what was read. */
	uint64_t (*run)(void *file, uint64_t count);
};

#endif
