/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * access.h - all accesses of the two counters to their words go through here, so that they can be
 * compared one at a time, and so that other operations can run between them.
 */
#ifndef ACCESS_H
#define ACCESS_H

#include <stdbool.h>
#include <stdint.h>

enum access_kind { ACCESS_LOAD, ACCESS_STORE, ACCESS_ADD, ACCESS_CAS };

/* Bits, so that "at least as strong" is a test for inclusion; full has all bits. */
enum access_order {
	ORDER_RELAXED = 0,
	ORDER_ACQUIRE = 1,
	ORDER_RELEASE = 2,
	ORDER_ACQ_REL = 3,
	ORDER_FULL = 7
};

/**
 * access - makes one atomic access, after operations that run in between.
 * @word: the word to access.
 * @kind: the kind of access.
 * @order: the order that the code requests; only recorded, since one thread does not need it.
 * @value: the value to store, to add, or to store by a CAS that succeeds.
 * @expected: for a CAS.
 *
 * Returns the previous value of the word.
 */
uint32_t access(uint32_t *word, enum access_kind kind, enum access_order order, uint32_t value,
	uint32_t expected);

#endif
