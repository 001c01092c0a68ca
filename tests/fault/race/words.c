/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * words.c - waits for a word that another thread changes: the flags of a folio, progress, request
 * slots, requests in flight.
 *
 * Each wait goes through the same orders of steps (all_orders). The functions under test are the
 * library's; what they wait for is set up without a cache.
 */
#include "race.h"

#include "base/deadline.h"
#include "base/futex.h"
#include "cache/inflight.h"
#include "core/folio.h"
#include "core/progress.h"

/* What the waits are about. */
static struct folio subject;
static struct progress progress;
static struct folio_cache slots;
static struct inode file;

struct wait {
	folio_u32 *word;
	void (*begin)(void);
	/* Waits until it can proceed, and lets the next waiter proceed. -ETIMEDOUT: it did not. */
	ssize_t (*run)(struct task *task);
	void (*change)(void); /* ends the wait */
};

static const struct wait *current;

static ssize_t change_run(struct task *task)
{
	(void)task;
	current->change();
	return 0;
}

/* Starts a waiter, and waits until the @n-th one sleeps. */
static void sleeper_begin(struct task *task, long n)
{
	task_start(task, NULL, current->run, task->gate.point);
	wait_until(asleep(current->word) == n);
}

/*
 *	waiter                                          other
 *	checks the word
 *	                                                changes it, wakes
 *	sleeps: must find the change
 */
static void change_before_the_sleep(void)
{
	struct task waiter = {.gate.at = current->word};

	current->begin();
	task_begin(&waiter, NULL, current->run, FOLIO_PAUSE_futex_sleep);
	current->change();
	assert_int_equal(task_end(&waiter), 0);
}

/*
 *	first and second waiter                         other
 *	sleep
 *	                                                changes the word, wakes
 *	proceed, one after the other
 */
static void change_during_the_sleep(void)
{
	struct task first = {.gate.point = NOWHERE}, second = {.gate.point = NOWHERE};

	current->begin();
	sleeper_begin(&first, 1);
	sleeper_begin(&second, 2);
	current->change();
	assert_int_equal(task_end(&first), 0);
	assert_int_equal(task_end(&second), 0);
}

/*
 *	first waiter            second waiter           other
 *	sleeps
 *	                                                changes the word
 *	                        proceeds without sleep
 *	                                                wakes
 *	proceeds
 */
static void check_before_the_wake(void)
{
	struct task first = {.gate.point = NOWHERE}, second = {.gate.point = NOWHERE};
	struct task other = {.gate.at = current->word};

	current->begin();
	sleeper_begin(&first, 1);
	task_begin(&other, NULL, change_run, FOLIO_PAUSE_futex_wake);
	task_begin(&second, NULL, current->run, NOWHERE);
	assert_int_equal(task_end(&second), 0);
	assert_int_equal(task_end(&other), 0);
	assert_int_equal(task_end(&first), 0);
}

/*
 *	waiter                                          other
 *	sleeps
 *	                                                wakes, but nothing has changed
 *	must sleep again
 *	                                                changes the word, wakes
 *	proceeds
 */
static void wake_without_a_change(void)
{
	struct task waiter = {.gate.point = FOLIO_PAUSE_futex_woken, .gate.at = current->word};

	current->begin();
	sleeper_begin(&waiter, 1);
	futex_wake(current->word, 1);
	arrived(&waiter.gate);
	open_gate(&waiter.gate);
	wait_until(asleep(current->word) == 1 || task_done(&waiter));
	assert_false(task_done(&waiter));
	current->change();
	assert_int_equal(task_end(&waiter), 0);
}

/*
 *	waiter                                          other
 *	sleeps
 *	                                                the deadline passes
 *	                                                wakes, but nothing has changed
 *	must not sleep again
 */
static void wake_after_the_deadline(void)
{
	struct timespec until = deadline_in(3600 * 1000);
	struct task waiter = {.gate.point = NOWHERE, .until = &until};

	current->begin();
	sleeper_begin(&waiter, 1);
	folio_u64_store_release(&clock_ahead, 7200);
	futex_wake(current->word, 1);
	assert_int_equal(task_end(&waiter), -ETIMEDOUT);
	folio_u64_store_release(&clock_ahead, 0);
}

static void all_orders(const struct wait *wait)
{
	alarm(ALARM_SECONDS);
	current = wait;
	change_before_the_sleep();
	change_during_the_sleep();
	check_before_the_wake();
	wake_without_a_change();
	wake_after_the_deadline();
	alarm(0);
}

/* ---- the flags of a folio ---- */

static void fill_begin(void)
{
	folio_u32_store_relaxed(&subject.flags, FOLIO_LOCKED);
}

static ssize_t fill_wait(struct task *task)
{
	uint32_t flags = folio_wait_unlocked(&subject, task->until);

	return flags & FOLIO_UPTODATE ? 0 : -ETIMEDOUT;
}

static void fill_end(void)
{
	folio_filled(&subject, FOLIO_UPTODATE);
}

void test_wait_for_fill(void **state)
{
	static const struct wait wait = {&subject.flags, fill_begin, fill_wait, fill_end};

	(void)state;
	all_orders(&wait);
}

static void lock_begin(void)
{
	folio_u32_store_relaxed(&subject.flags, FOLIO_UPTODATE | FOLIO_LOCKED);
}

static ssize_t lock_wait(struct task *task)
{
	if (!folio_lock_wait(&subject, task->until))
		return -ETIMEDOUT;
	folio_unlocked(&subject);
	return 0;
}

static void lock_end(void)
{
	folio_unlocked(&subject);
}

void test_wait_for_lock(void **state)
{
	static const struct wait wait = {&subject.flags, lock_begin, lock_wait, lock_end};

	(void)state;
	all_orders(&wait);
}

static void write_begin(void)
{
	folio_u32_store_relaxed(&subject.flags, FOLIO_UPTODATE | FOLIO_WRITEBACK);
}

static void write_end(void)
{
	folio_flags_change(&subject, FOLIO_WRITEBACK, 0);
}

void test_wait_for_write_back(void **state)
{
	static const struct wait wait = {&subject.flags, write_begin, lock_wait, write_end};

	(void)state;
	all_orders(&wait);
}

/*
 *	first waiter            second waiter           other
 *	sleeps                  sleeps
 *	                                                unlocks: wakes both
 *	takes the lock
 *	                        finds it taken, is about
 *	                        to sleep again
 *	unlocks: must wake the second one
 */
void test_lock_taken_before_the_second_wakes(void **state)
{
	static const struct wait wait = {&subject.flags, lock_begin, lock_wait, lock_end};
	struct task first = {.gate.point = NOWHERE};
	struct task second = {.gate.point = FOLIO_PAUSE_futex_woken, .gate.at = &subject.flags};

	(void)state;
	alarm(ALARM_SECONDS);
	current = &wait;
	lock_begin();
	sleeper_begin(&first, 1);
	sleeper_begin(&second, 2);
	folio_unlocked(&subject);
	assert_int_equal(task_end(&first), 0);
	arrived(&second.gate);
	assert_true(folio_lock_wait(&subject, NULL));
	open_gate(&second.gate);
	wait_until(asleep(&subject.flags) == 1);
	folio_unlocked(&subject);
	assert_int_equal(task_end(&second), 0);
	alarm(0);
}

/* ---- progress ---- */

static void busy_begin(void)
{
	progress_init(&progress);
	progress.patience_ms = UINT32_MAX;
	progress_begin(&progress);
}

static ssize_t progress_run(struct task *task)
{
	return progress_wait(&progress, 0, task->until);
}

static void busy_end(void)
{
	progress_end(&progress, true);
}

void test_wait_for_busy(void **state)
{
	static const struct wait wait = {&progress.event, busy_begin, progress_run, busy_end};

	(void)state;
	all_orders(&wait);
}

static void hold_begin(void)
{
	progress_init(&progress);
	progress.patience_ms = UINT32_MAX;
	progress_hold(&progress);
}

static void hold_end(void)
{
	progress_unhold(&progress, true);
}

void test_wait_for_holder(void **state)
{
	static const struct wait wait = {&progress.event, hold_begin, progress_run, hold_end};

	(void)state;
	all_orders(&wait);
}

/* The last activity releases nothing: no caller may wait for more. */
static ssize_t refused_run(struct task *task)
{
	int r = progress_wait(&progress, 0, task->until);

	return r == -ENOMEM ? 0 : r;
}

static void busy_end_for_nothing(void)
{
	progress_end(&progress, false);
}

void test_wait_until_idle(void **state)
{
	static const struct wait wait = {
		&progress.event, busy_begin, refused_run, busy_end_for_nothing};

	(void)state;
	all_orders(&wait);
}

/*
 *	waiter                                          fill
 *	                                                has ended; its thread keeps the folio: it
 *	                                                counts as holder, and no longer as busy
 *	checks
 *	                                                puts the folio
 *	sleeps: must find that
 */
void test_busy_becomes_holder(void **state)
{
	struct task waiter = {.gate.at = &progress.event};

	(void)state;
	alarm(ALARM_SECONDS);
	busy_begin();
	progress_hold(&progress);
	progress_end(&progress, false);
	task_begin(&waiter, NULL, progress_run, FOLIO_PAUSE_futex_sleep);
	progress_unhold(&progress, true);
	assert_int_equal(task_end(&waiter), 0);
	alarm(0);
}

/* ---- request slots ---- */

static void slots_begin(void)
{
	slots.timeout_ms = 1;
	folio_u32_store_relaxed(&slots.request_slots, 0);
}

static ssize_t slot_run(struct task *task)
{
	if (!slot_take(&slots, true, task->until))
		return -ETIMEDOUT;
	slot_give(&slots);
	return 0;
}

static void slot_end(void)
{
	slot_give(&slots);
}

static const struct wait wait_for_slot = {&slots.request_slots, slots_begin, slot_run, slot_end};

void test_wait_for_slot(void **state)
{
	(void)state;
	all_orders(&wait_for_slot);
}

/*
 * The first of two waiters has a deadline. It was woken for a free slot, and the deadline has
 * passed; it stops at @point of the slots' word.
 */
static void deadline_after_the_wake(struct task *first, struct task *second, enum folio_pause point)
{
	static struct timespec until;

	alarm(ALARM_SECONDS);
	current = &wait_for_slot;
	slots_begin();
	until = deadline_in(3600 * 1000);
	*first = (struct task){
		.gate.point = point, .gate.at = &slots.request_slots, .until = &until};
	sleeper_begin(first, 1);
	*second = (struct task){.gate.point = NOWHERE};
	sleeper_begin(second, 2);
	folio_u64_store_release(&clock_ahead, 7200);
	slot_give(&slots);
	arrived(&first->gate);
}

static void after_deadline(void)
{
	folio_u64_store_release(&clock_ahead, 0);
	alarm(0);
}

/*
 *	first waiter            second waiter           other
 *	sleeps                  sleeps
 *	                                                returns a slot: wakes the first
 *	its deadline passes: it
 *	leaves the slot, and
 *	wakes the second
 *	                        takes the slot
 */
void test_slot_left_at_the_deadline(void **state)
{
	struct task first, second;

	(void)state;
	deadline_after_the_wake(&first, &second, FOLIO_PAUSE_futex_woken);
	assert_int_equal(asleep(&slots.request_slots), 1);
	assert_int_equal(task_end(&first), -ETIMEDOUT);
	assert_int_equal(task_end(&second), 0);
	after_deadline();
	assert_int_equal(folio_u32_load_relaxed(&slots.request_slots), 1);
}

/* The same, but another thread takes and returns the slot before the first waiter has left it. */
void test_slot_taken_before_it_is_left(void **state)
{
	struct task first, second;

	(void)state;
	deadline_after_the_wake(&first, &second, FOLIO_PAUSE_futex_woken);
	assert_true(slot_take(&slots, false, NULL));
	assert_int_equal(task_end(&first), -ETIMEDOUT);
	slot_give(&slots);
	assert_int_equal(task_end(&second), 0);
	after_deadline();
}

/* The same, but between the first waiter's check for a slot and its wake of the second waiter. */
void test_slot_taken_before_the_wake_is_passed_on(void **state)
{
	struct task first, second;

	(void)state;
	deadline_after_the_wake(&first, &second, FOLIO_PAUSE_futex_wake);
	assert_true(slot_take(&slots, false, NULL));
	assert_int_equal(task_end(&first), -ETIMEDOUT);
	wait_until(asleep(&slots.request_slots) == 1);
	slot_give(&slots);
	assert_int_equal(task_end(&second), 0);
	after_deadline();
}

/* ---- requests in flight ---- */

static void inflight_set(void)
{
	folio_u32_store_relaxed(&file.fills, 0);
	inflight_begin(&file);
}

static ssize_t drain_run(struct task *task)
{
	inflight_drain(&file, task->until);
	return folio_u32_load_relaxed(&file.fills) == INODE_CLOSING ? 0 : -ETIMEDOUT;
}

static void inflight_stop(void)
{
	inflight_end(&file);
}

void test_wait_for_requests(void **state)
{
	static const struct wait wait = {&file.fills, inflight_set, drain_run, inflight_stop};

	(void)state;
	all_orders(&wait);
}
