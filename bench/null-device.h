/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * null-device.h - a backend that costs nothing, so that a program measures the library alone.
 *
 *	struct null_device device = {.bytes = 1 << 30};
 *	struct folio_cache_params params = {..., .io = &null_device_ops, .io_context = &device};
 *
 * Every call returns at once, on the calling thread. A path is a number, that of the file.
 */
#ifndef FOLIO_BENCH_NULL_DEVICE_H
#define FOLIO_BENCH_NULL_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <folio/io.h>

struct null_device {
	uint64_t bytes; /* size of each file */
	bool touches;   /* a read stores something in each page, as a device does */
	bool fails;     /* each read fails with -EIO */
	uint64_t reads; /* by threads that wait for them; of a program with one thread */
};

extern const struct folio_io_ops null_device_ops;

#endif
