/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * race.h - shared by the tests of interleavings.
 *
 * A thread stops at a pause point of the library (src/base/pause.h), at a call of the simulated
 * device, or is noticed when it is about to take a lock. So each test controls the order of the
 * steps, and no test depends on time. An alarm ends a test that hangs.
 */
#ifndef FOLIO_TESTS_FAULT_RACE_H
#define FOLIO_TESTS_FAULT_RACE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "asleep.h"
#include "base/pause.h"
#include "cache/types.h"
#include "sim.h"

#define PAGE ((uint64_t)FOLIO_PAGE_SIZE)

#ifndef ALARM_SECONDS
#define ALARM_SECONDS 50
#endif

#define wait_until(condition)          \
	do {                           \
		while (!(condition))   \
			sched_yield(); \
	} while (0)

/* ---- where threads stop ---- */

/* More values of enum folio_pause. */
#define NOWHERE  FOLIO_PAUSES
#define UNLOCKED ((enum folio_pause)(FOLIO_PAUSES + 1)) /* right after a mutex was released */
#define LOCKING  ((enum folio_pause)(FOLIO_PAUSES + 2)) /* right before one is taken */

struct gate {
	enum folio_pause point;
	const void *at; /* only there: a folio, word, lock or condition variable; NULL: anywhere */
	bool again;     /* stop at every pass, not only at the first */
	folio_u32 arrived, open;
	folio_u32 inside; /* threads that stop here, and do not call */
	folio_ptr object; /* where the thread has arrived last */
	/* If set, the thread calls this at the point, and does not stop. */
	void (*call)(struct gate *gate);
};

/*
 * Gates: the one for the next thread that passes a pause point, and those in the device. The gate
 * for writes stops only writes to @written. Each stops one thread, which takes it.
 */
extern folio_ptr any_thread, at_sync, at_write, at_truncate, at_punch;
extern int sync_error;       /* result of the sync that stops at at_sync */
extern folio_u32 full_syncs; /* of the device, without FOLIO_IO_DATA_ONLY */
extern struct sim_file *written;
extern folio_u32 writes_seen;

struct gate *take(folio_ptr *from);
void arrived(const struct gate *gate);
void open_gate(struct gate *gate);

/* How far the library's monotonic clock is ahead of the kernel's, in seconds. */
extern folio_u64 clock_ahead;

/*
 * Counts the threads that are about to take the watched lock: a mutex, or a rwlock to read. With
 * &any_lock, all of them.
 */
extern folio_u32 lock_attempts;
extern char any_lock;
void watch(void *lock);

/* ---- the cache and its device ---- */

struct world {
	struct sim *sim;
	struct sim_file *disk;
	struct folio_cache *cache;
	struct folio_file *file;
};

struct world world_begin(uint64_t pages, uint64_t dirty, uint64_t size);
/* The same, with a before_writeback that does nothing: sequence numbers are recorded. */
struct world world_begin_logged(uint64_t pages, uint64_t dirty, uint64_t size);
/* world_begin, on a device whose requests the test runs (sim_step). */
struct world world_begin_steps(uint64_t pages, uint64_t dirty, uint64_t size);
void world_end(struct world *w);
/* The rest of world_end, after the cache has been closed. */
void world_closed(struct world *w);

/* For sim_observe_writes: counts writes to @written, and stops them at at_write. */
void observe(void *arg, struct sim_file *file, uint64_t offset, uint64_t len);

bool all_are(const char *bytes, char byte, size_t len);
const char *disk(struct world *w, uint64_t offset, size_t len);

/* Passes of the flusher that have ended. */
uint64_t passes_ended(struct folio_cache *cache);

/* ---- threads and their calls ---- */

/* Another thread, which stops at a pause point. */
struct task {
	pthread_t thread;
	struct world *w;
	struct folio_file *file;
	ssize_t (*run)(struct task *task);
	struct gate gate;
	ssize_t result, second;
	char byte;
	size_t len;
	uint64_t offset;
	const struct timespec *until; /* the deadline of a wait; NULL: none */
	folio_u32 done;
};

/* task_start does not wait until the thread has stopped; @w may be NULL. */
void task_start(struct task *task, struct world *w, ssize_t (*run)(struct task *task),
	enum folio_pause point);
void task_begin(struct task *task, struct world *w, ssize_t (*run)(struct task *task),
	enum folio_pause point);
ssize_t task_end(struct task *task);
bool task_done(struct task *task);

/* Does a thread wait for a write of the file that another one has begun? */
bool is_awaited(struct inode *inode);

ssize_t write_run(struct task *task);
ssize_t read_run(struct task *task);
ssize_t sync_run(struct task *task);
ssize_t write_byte(struct world *w, uint64_t offset, char byte);
void mark_page(struct world *w, uint64_t index, uint64_t sequence);

/* The first page of the file, pinned by pin_it. */
extern struct folio *pinned;
extern char *pinned_page;
void pin_it(struct world *w);
void write_in_place(struct world *w);

/* ---- the tests ---- */

/* async.c */
void test_fill_ends_before_the_flag(void **state);
void test_fill_ends_before_waiting(void **state);
void test_watch_called_late(void **state);

/* read.c */
void test_copy_during_write(void **state);
void test_copy_during_truncation(void **state);
void test_copy_among_writes(void **state);
void test_read_overtaken(void **state);
void test_written_page_dropped(void **state);
void test_piece_dropped_before_it_is_queued(void **state);
void test_split_page_overtaken(void **state);
void test_get_that_need_not_split(void **state);
void test_look_up_that_stalls(void **state);
void test_look_up_of_a_frozen_page(void **state);
void test_change_ends_before_the_unlock(void **state);

/* end.c */
void test_append_during_full_write_of_last_page(void **state);
void test_growth_that_fails(void **state);
void test_fill_during_truncation(void **state);
void test_reader_of_outgrown_page(void **state);
void test_writer_of_outgrown_page(void **state);
void test_growth_after_outgrown_page(void **state);
void test_in_place_after_growth(void **state);
void test_in_place_before_growth(void **state);
void test_filled_while_growth_is_found(void **state);

/* truncate.c */
void test_punch_during_truncation(void **state);
void test_refused_truncation_during_flush(void **state);
void test_pin_during_refused_truncation(void **state);
void test_refused_open_with_truncation(void **state);
void test_refused_open_with_truncation_and_failing_write(void **state);
void test_hole_during_flush(void **state);
void test_truncation_during_split(void **state);

/* close.c */
void test_close_after_detached_punch(void **state);
void test_close_of_evicted_page(void **state);
void test_eviction_after_close(void **state);
void test_open_of_evicted_file(void **state);

/* writeback.c */
void test_append_during_collection(void **state);
void test_sync_of_locked_page(void **state);
void test_two_syncs_of_a_failing_device(void **state);
void test_error_reported_before_folios_are_dirty_again(void **state);
void test_pass_ends(void **state);
void test_pass_began_before(void **state);
void test_pass_ended_before(void **state);
void test_visit_without_effect(void **state);
void test_end_of_a_run_that_nothing_waits_for(void **state);
void test_once_write_among_others(void **state);
void test_hand_while_nodes_leave(void **state);

/* errors.c */
void test_syncs_that_share_a_handle(void **state);
void test_syncs_during_closes(void **state);
void test_syncs_after_a_throttled_writer(void **state);
void test_syncs_after_one_that_was_left(void **state);
void test_error_during_two_syncs(void **state);

/* sync.c */
void test_one_sync_for_many(void **state);
void test_sync_that_began_before(void **state);
void test_error_of_a_shared_sync(void **state);
void test_full_sync_among_others(void **state);
void test_full_sync_before_others(void **state);
void test_turns_of_syncs(void **state);
void test_error_in_a_round(void **state);
void test_write_that_began_later(void **state);

/* log.c */
void test_oldest_during_a_failing_write(void **state);
void test_oldest_while_lost_pages_become_dirty(void **state);

/* pins.c */
void test_pin_before_the_page_is_uptodate(void **state);
void test_page_dropped_while_pins_are_counted(void **state);
void test_page_dirtied_while_pins_are_counted(void **state);
void test_page_referenced_by_pin_walk(void **state);
void test_pins_in_a_new_table(void **state);
void test_pin_put_while_one_is_recorded(void **state);
void test_holders_of_the_same_use(void **state);

/* publish.c */
void test_publication_of_a_dropped_page(void **state);
void test_publication_of_a_written_page(void **state);
void test_publication_before_the_scan(void **state);
void test_publication_of_a_page_that_returns(void **state);
void test_pin_of_a_held_page(void **state);
void test_pin_after_the_scan(void **state);
void test_scan_without_pins(void **state);
void test_unpin_while_an_evictor_has_the_page(void **state);
void test_pin_converted_while_pins_are_counted(void **state);

/* words.c */
void test_wait_for_fill(void **state);
void test_wait_for_lock(void **state);
void test_wait_for_write_back(void **state);
void test_lock_taken_before_the_second_wakes(void **state);
void test_wait_for_busy(void **state);
void test_wait_for_holder(void **state);
void test_wait_until_idle(void **state);
void test_busy_becomes_holder(void **state);
void test_wait_for_slot(void **state);
void test_slot_left_at_the_deadline(void **state);
void test_slot_taken_before_it_is_left(void **state);
void test_slot_taken_before_the_wake_is_passed_on(void **state);
void test_wait_for_requests(void **state);

/* library.c */
void test_evictor_starts(void **state);
void test_work_for_the_evictor(void **state);
void test_stop_of_the_evictor(void **state);
void test_work_for_the_flusher(void **state);
void test_stop_of_the_flusher(void **state);
void test_work_for_the_reaper(void **state);
void test_wait_for_the_reaper(void **state);
void test_stop_of_the_reaper(void **state);

/* calls.c */
void test_wait_for_own_write(void **state);
void test_wait_for_another_write(void **state);
void test_wait_for_unlock(void **state);
void test_wait_for_part(void **state);
void test_wait_for_detached_call(void **state);
void test_detached_call_outlives_caller(void **state);
void test_detached_call_ends_at_the_deadline(void **state);
void test_wait_for_turn(void **state);
void test_close_waits_for_detached_call(void **state);

/* conditions.c */
void test_wait_for_flusher(void **state);
void test_detach_from_flusher(void **state);
void test_close_waits_for_flusher(void **state);
void test_wait_for_dirty_pages(void **state);
void test_wait_for_run(void **state);
void test_open_waits_for_confirmation(void **state);

/* backend.c */
void test_work_for_a_thread(void **state);
void test_space_for_a_thread(void **state);
void test_space_in_the_ring(void **state);
void test_ring_is_set_up(void **state);
void test_request_before_the_ring_sleeps(void **state);
void test_request_before_the_ring_is_woken(void **state);
void test_request_while_the_ring_is_awake(void **state);

/* evict.c */
void test_hits_are_no_progress(void **state);
void test_page_held_by_two(void **state);
void test_holder_that_is_delayed(void **state);
void test_always_busy(void **state);
void test_busy_for_long(void **state);
void test_page_about_to_be_written(void **state);
void test_fill_becomes_holder(void **state);

#endif
