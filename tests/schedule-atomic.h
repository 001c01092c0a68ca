/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule-atomic.h - a schedule_point() before each operation of folio/atomic.h on a 32-bit word
 * or a pointer. Included before the header under test.
 */
#ifndef FOLIO_TESTS_SCHEDULE_ATOMIC_H
#define FOLIO_TESTS_SCHEDULE_ATOMIC_H

#include <folio/atomic.h>

#include "schedule.h"

#define folio_u32_load_relaxed(p)         (schedule_point(), folio_u32_load_relaxed(p))
#define folio_u32_load_acquire(p)         (schedule_point(), folio_u32_load_acquire(p))
#define folio_u32_store_relaxed(p, v)     (schedule_point(), folio_u32_store_relaxed(p, v))
#define folio_u32_store_release(p, v)     (schedule_point(), folio_u32_store_release(p, v))
#define folio_u32_exchange_acquire(p, v)  (schedule_point(), folio_u32_exchange_acquire(p, v))
#define folio_u32_cas_relaxed(p, e, v)    (schedule_point(), folio_u32_cas_relaxed(p, e, v))
#define folio_u32_cas_acquire(p, e, v)    (schedule_point(), folio_u32_cas_acquire(p, e, v))
#define folio_u32_cas_release(p, e, v)    (schedule_point(), folio_u32_cas_release(p, e, v))
#define folio_u32_cas_acq_rel(p, e, v)    (schedule_point(), folio_u32_cas_acq_rel(p, e, v))
#define folio_u32_fetch_add_relaxed(p, v) (schedule_point(), folio_u32_fetch_add_relaxed(p, v))
#define folio_u32_fetch_add_acquire(p, v) (schedule_point(), folio_u32_fetch_add_acquire(p, v))
#define folio_u32_fetch_sub_relaxed(p, v) (schedule_point(), folio_u32_fetch_sub_relaxed(p, v))
#define folio_u32_fetch_sub_release(p, v) (schedule_point(), folio_u32_fetch_sub_release(p, v))
#define folio_u32_fetch_or_relaxed(p, v)  (schedule_point(), folio_u32_fetch_or_relaxed(p, v))
#define folio_u32_fetch_or_release(p, v)  (schedule_point(), folio_u32_fetch_or_release(p, v))
#define folio_u32_fetch_and_release(p, v) (schedule_point(), folio_u32_fetch_and_release(p, v))

#define folio_ptr_load_relaxed(p)         (schedule_point(), folio_ptr_load_relaxed(p))
#define folio_ptr_load_acquire(p)         (schedule_point(), folio_ptr_load_acquire(p))
#define folio_ptr_store_relaxed(p, v)     (schedule_point(), folio_ptr_store_relaxed(p, v))
#define folio_ptr_store_release(p, v)     (schedule_point(), folio_ptr_store_release(p, v))
#define folio_ptr_exchange_acquire(p, v)  (schedule_point(), folio_ptr_exchange_acquire(p, v))
#define folio_ptr_cas_relaxed(p, e, v)    (schedule_point(), folio_ptr_cas_relaxed(p, e, v))
#define folio_ptr_cas_acquire(p, e, v)    (schedule_point(), folio_ptr_cas_acquire(p, e, v))
#define folio_ptr_cas_release(p, e, v)    (schedule_point(), folio_ptr_cas_release(p, e, v))
#define folio_ptr_cas_acq_rel(p, e, v)    (schedule_point(), folio_ptr_cas_acq_rel(p, e, v))

#endif
