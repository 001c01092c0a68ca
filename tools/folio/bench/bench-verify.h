/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench-verify.h - every byte of the file, read through the cache and compared with the kernel's.
 */
#ifndef FOLIO_TOOLS_BENCH_VERIFY_H
#define FOLIO_TOOLS_BENCH_VERIFY_H

#include "bench/bench-base.h"

/*
 * Compare the entire file, read by copy and by pin, with what pread returns, and record that in the
 * report. False after a complaint.
 */
bool bench_verify(struct bench *bench);

#endif
