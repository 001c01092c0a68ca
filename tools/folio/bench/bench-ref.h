/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-ref.h - folio bench ref.
 */
#ifndef FOLIO_TOOLS_BENCH_REF_H
#define FOLIO_TOOLS_BENCH_REF_H

int bench_ref_command(int argc, char **argv);

#endif
