/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-write.h - folio bench write.
 */
#ifndef FOLIO_TOOLS_BENCH_WRITE_H
#define FOLIO_TOOLS_BENCH_WRITE_H

int bench_write_command(int argc, char **argv);

#endif
