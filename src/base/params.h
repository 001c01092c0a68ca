/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.h - a struct of a program that may have been compiled with another version of the header.
 *
 * Such a struct begins with its size, and later versions add fields at its end. Never compare the
 * size with that of today's struct: it would refuse the programs of yesterday.
 */
#ifndef FOLIO_SRC_BASE_PARAMS_H
#define FOLIO_SRC_BASE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/*
 * Copy the program's struct @from to @to, which has @size bytes. Fields that the program does not
 * have are 0; those that this library does not have are left out. @required: offset of the first
 * optional field. Returns false if the program's struct ends before it.
 */
static inline bool params_copy(void *to, size_t size, const void *from, size_t required)
{
	size_t given = *(const size_t *)from;

	if (given < required)
		return false;
	memset(to, 0, size);
	memcpy(to, from, given < size ? given : size);
	return true;
}

#endif
