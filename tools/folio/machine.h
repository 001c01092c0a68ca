/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine.h - what a figure has to be read beside: the machine that it was measured on.
 */
#ifndef FOLIO_TOOLS_MACHINE_H
#define FOLIO_TOOLS_MACHINE_H

#include <stdint.h>

#include "report.h"

/* Add the facts of group "machine", and a headline of them. */
void machine_report(struct report *report);

/* Physical memory, bytes. */
uint64_t machine_memory(void);

/* What could be had of it now without swapping, bytes; the kernel's page cache counts as can be had. */
uint64_t machine_memory_available(void);

#endif
