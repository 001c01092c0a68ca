/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * coverage.h - included first in each source of a build that counts coverage (make coverage).
 *
 * The counters of a process are written when it ends by exit. Tests also run in children that end
 * by _exit or abort: these write their counters before.
 */
#ifndef FOLIO_TESTS_COVERAGE_H
#define FOLIO_TESTS_COVERAGE_H

#include <stdlib.h>
#include <unistd.h>

/* Of libgcov, which gcc links with --coverage. */
void __gcov_dump(void);

#define _exit(status) (__gcov_dump(), _exit(status))
#define abort()       (__gcov_dump(), abort())

#endif
