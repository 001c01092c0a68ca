/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - interleavings that once failed, or that a typical bug breaks, replayed step by step.
 *
 *   harness.c     gates, the cache on its device, threads
 *   read.c        readers and writers of one page
 *   end.c         the end of the file
 *   truncate.c    truncation, holes, opens that truncate
 *   writeback.c   write-back, errors, the flusher
 *   errors.c      errors of write-back, and syncs that share a handle
 *   sync.c        threads that share one sync of the device
 *   log.c         sequence numbers that move while a thread looks for the smallest
 *   pins.c        the walk over pins
 *   publish.c     published pins, and threads that take the page
 *   evict.c       callers that find no free page
 *   words.c       waits for a word that another thread changes
 *   library.c     waits of the library's threads
 *   calls.c       waits of calls: for writes, detached calls
 *   conditions.c  waits for a condition, under a lock
 *   backend.c     waits in the library's backends
 *
 * race PATTERN runs the tests whose names match.
 */
#include "race.h"

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_during_write),
		cmocka_unit_test(test_piece_dropped_before_it_is_queued),
		cmocka_unit_test(test_split_page_overtaken),
		cmocka_unit_test(test_get_that_need_not_split),
		cmocka_unit_test(test_look_up_that_stalls),
		cmocka_unit_test(test_look_up_of_a_frozen_page),
		cmocka_unit_test(test_change_ends_before_the_unlock),
		cmocka_unit_test(test_append_during_full_write_of_last_page),
		cmocka_unit_test(test_append_during_collection),
		cmocka_unit_test(test_read_overtaken),
		cmocka_unit_test(test_written_page_dropped),
		cmocka_unit_test(test_copy_during_truncation),
		cmocka_unit_test(test_copy_among_writes),
		cmocka_unit_test(test_growth_that_fails),
		cmocka_unit_test(test_fill_during_truncation),
		cmocka_unit_test(test_reader_of_outgrown_page),
		cmocka_unit_test(test_writer_of_outgrown_page),
		cmocka_unit_test(test_growth_after_outgrown_page),
		cmocka_unit_test(test_in_place_after_growth),
		cmocka_unit_test(test_in_place_before_growth),
		cmocka_unit_test(test_punch_during_truncation),
		cmocka_unit_test(test_pass_ends),
		cmocka_unit_test(test_pass_began_before),
		cmocka_unit_test(test_pass_ended_before),
		cmocka_unit_test(test_visit_without_effect),
		cmocka_unit_test(test_end_of_a_run_that_nothing_waits_for),
		cmocka_unit_test(test_once_write_among_others),
		cmocka_unit_test(test_hand_while_nodes_leave),
		cmocka_unit_test(test_refused_truncation_during_flush),
		cmocka_unit_test(test_pin_during_refused_truncation),
		cmocka_unit_test(test_truncation_during_split),
		cmocka_unit_test(test_refused_open_with_truncation),
		cmocka_unit_test(test_refused_open_with_truncation_and_failing_write),
		cmocka_unit_test(test_filled_while_growth_is_found),
		cmocka_unit_test(test_hole_during_flush),
		cmocka_unit_test(test_close_after_detached_punch),
		cmocka_unit_test(test_close_of_evicted_page),
		cmocka_unit_test(test_eviction_after_close),
		cmocka_unit_test(test_open_of_evicted_file),
		cmocka_unit_test(test_sync_of_locked_page),
		cmocka_unit_test(test_two_syncs_of_a_failing_device),
		cmocka_unit_test(test_error_reported_before_folios_are_dirty_again),
		cmocka_unit_test(test_syncs_that_share_a_handle),
		cmocka_unit_test(test_syncs_during_closes),
		cmocka_unit_test(test_syncs_after_a_throttled_writer),
		cmocka_unit_test(test_syncs_after_one_that_was_left),
		cmocka_unit_test(test_error_during_two_syncs),
		cmocka_unit_test(test_one_sync_for_many),
		cmocka_unit_test(test_sync_that_began_before),
		cmocka_unit_test(test_error_of_a_shared_sync),
		cmocka_unit_test(test_full_sync_among_others),
		cmocka_unit_test(test_full_sync_before_others),
		cmocka_unit_test(test_turns_of_syncs),
		cmocka_unit_test(test_error_in_a_round),
		cmocka_unit_test(test_write_that_began_later),
		cmocka_unit_test(test_oldest_during_a_failing_write),
		cmocka_unit_test(test_oldest_while_lost_pages_become_dirty),
		cmocka_unit_test(test_pin_before_the_page_is_uptodate),
		cmocka_unit_test(test_page_dropped_while_pins_are_counted),
		cmocka_unit_test(test_page_dirtied_while_pins_are_counted),
		cmocka_unit_test(test_page_referenced_by_pin_walk),
		cmocka_unit_test(test_pins_in_a_new_table),
		cmocka_unit_test(test_pin_put_while_one_is_recorded),
		cmocka_unit_test(test_publication_of_a_dropped_page),
		cmocka_unit_test(test_publication_of_a_written_page),
		cmocka_unit_test(test_publication_before_the_scan),
		cmocka_unit_test(test_publication_of_a_page_that_returns),
		cmocka_unit_test(test_pin_of_a_held_page),
		cmocka_unit_test(test_pin_after_the_scan),
		cmocka_unit_test(test_scan_without_pins),
		cmocka_unit_test(test_unpin_while_an_evictor_has_the_page),
		cmocka_unit_test(test_pin_converted_while_pins_are_counted),
		cmocka_unit_test(test_holders_of_the_same_use),
		cmocka_unit_test(test_hits_are_no_progress),
		cmocka_unit_test(test_page_held_by_two),
		cmocka_unit_test(test_holder_that_is_delayed),
		cmocka_unit_test(test_always_busy),
		cmocka_unit_test(test_busy_for_long),
		cmocka_unit_test(test_page_about_to_be_written),
		cmocka_unit_test(test_fill_becomes_holder),
		cmocka_unit_test(test_wait_for_fill),
		cmocka_unit_test(test_fill_ends_before_the_flag),
		cmocka_unit_test(test_fill_ends_before_waiting),
		cmocka_unit_test(test_watch_called_late),
		cmocka_unit_test(test_wait_for_lock),
		cmocka_unit_test(test_wait_for_write_back),
		cmocka_unit_test(test_lock_taken_before_the_second_wakes),
		cmocka_unit_test(test_wait_for_busy),
		cmocka_unit_test(test_wait_for_holder),
		cmocka_unit_test(test_wait_until_idle),
		cmocka_unit_test(test_busy_becomes_holder),
		cmocka_unit_test(test_wait_for_slot),
		cmocka_unit_test(test_slot_left_at_the_deadline),
		cmocka_unit_test(test_slot_taken_before_it_is_left),
		cmocka_unit_test(test_slot_taken_before_the_wake_is_passed_on),
		cmocka_unit_test(test_wait_for_requests),
		cmocka_unit_test(test_evictor_starts),
		cmocka_unit_test(test_work_for_the_evictor),
		cmocka_unit_test(test_stop_of_the_evictor),
		cmocka_unit_test(test_work_for_the_flusher),
		cmocka_unit_test(test_stop_of_the_flusher),
		cmocka_unit_test(test_work_for_the_reaper),
		cmocka_unit_test(test_wait_for_the_reaper),
		cmocka_unit_test(test_stop_of_the_reaper),
		cmocka_unit_test(test_wait_for_own_write),
		cmocka_unit_test(test_wait_for_another_write),
		cmocka_unit_test(test_wait_for_unlock),
		cmocka_unit_test(test_wait_for_part),
		cmocka_unit_test(test_wait_for_detached_call),
		cmocka_unit_test(test_detached_call_outlives_caller),
		cmocka_unit_test(test_wait_for_turn),
		cmocka_unit_test(test_close_waits_for_detached_call),
		cmocka_unit_test(test_detached_call_ends_at_the_deadline),
		cmocka_unit_test(test_wait_for_flusher),
		cmocka_unit_test(test_detach_from_flusher),
		cmocka_unit_test(test_close_waits_for_flusher),
		cmocka_unit_test(test_wait_for_dirty_pages),
		cmocka_unit_test(test_wait_for_run),
		cmocka_unit_test(test_open_waits_for_confirmation),
		cmocka_unit_test(test_work_for_a_thread),
		cmocka_unit_test(test_space_for_a_thread),
		cmocka_unit_test(test_space_in_the_ring),
		cmocka_unit_test(test_ring_is_set_up),
		cmocka_unit_test(test_request_before_the_ring_sleeps),
		cmocka_unit_test(test_request_before_the_ring_is_woken),
		cmocka_unit_test(test_request_while_the_ring_is_awake),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
