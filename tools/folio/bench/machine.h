/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine.h - the machine that the figures were measured on.
 */
#ifndef FOLIO_TOOLS_MACHINE_H
#define FOLIO_TOOLS_MACHINE_H

#include <stdint.h>

#include "bench/report.h"

/*
 * Add the facts of the group "machine", a headline with the main ones, and a warning if it is busy.
 */
void machine_report(struct report *report);

/* Physical memory in bytes. */
uint64_t machine_memory(void);

/*
 * Bytes that can be allocated now without swapping. The kernel's page cache counts as available.
 */
uint64_t machine_memory_available(void);

#endif
