/* SPDX-License-Identifier: BSD-2-Clause */
/* memory.h - memory for a program that ends if there is none. */
#ifndef FOLIO_BENCH_POLICY_MEMORY_H
#define FOLIO_BENCH_POLICY_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void *memory_or_exit(void *memory)
{
	if (!memory) {
		fprintf(stderr, "policy: no memory\n");
		exit(2);
	}
	return memory;
}

/* @count zeroed elements of @size bytes. */
static inline void *memory_array(uint64_t count, size_t size)
{
	return memory_or_exit(calloc(count, size));
}

/* Make an array of *@count elements larger, and *@count with it. */
static inline void *memory_more(void *array, uint64_t *count, size_t size)
{
	*count = *count ? *count * 2 : 65536;
	return memory_or_exit(reallocarray(array, *count, size));
}

#endif
