/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * access.h - all accesses of the two counters to their words go through here, so that they can be compared one by one, and
 * so that other operations can come between them.
 */
#ifndef ACCESS_H
#define ACCESS_H

#include <stdbool.h>
#include <stdint.h>

enum access_kind { ACCESS_LOAD, ACCESS_STORE, ACCESS_ADD, ACCESS_CAS };

/* Bits, so that "at least as strong" is a test of inclusion; full has all. */
enum access_order {
	ORDER_RELAXED = 0,
	ORDER_ACQUIRE = 1,
	ORDER_RELEASE = 2,
	ORDER_ACQ_REL = 3,
	ORDER_FULL = 7
};

/**
 * access - does one atomic access, after whatever comes between.
 * @word: what is accessed.
 * @kind: how.
 * @order: the order that the code asks for; recorded, since one thread does not need it.
 * @value: what is stored, added, or stored by a CAS that succeeds.
 * @expected: for a CAS.
 *
 * Returns what was there before.
 */
uint32_t access(uint32_t *word, enum access_kind kind, enum access_order order, uint32_t value,
	uint32_t expected);

#endif
