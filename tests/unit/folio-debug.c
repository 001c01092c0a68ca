/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pins and the lock of a folio in the counter's debug build: misuse is reported with the line
 * of the program, not of the header.
 */
#ifndef FOLIO_REF_DEBUG
#define FOLIO_REF_DEBUG
#endif

#include "write-world.h"

static unsigned reports;
static const char *reported_file;
static int reported_line;

static void note_misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	(void)ref;
	(void)what;
	reports++;
	reported_file = file;
	reported_line = line;
}

static void test_line_of_caller(void **state)
{
	struct folio folio;

	(void)state;
	memset(&folio, 0, sizeof(folio));
	folio_ref_on_misuse = note_misuse;
	folio_ref_init_frozen(&folio.ref);
	folio_get(&folio);
	assert_int_equal(reported_line, __LINE__ - 1);
	assert_string_equal(reported_file, __FILE__);
	folio_put(&folio);
	assert_int_equal(reported_line, __LINE__ - 1);
	assert_string_equal(reported_file, __FILE__);
	assert_int_equal(reports, 2);
	/* Correct use, and called as functions. */
	folio_ref_unfreeze(&folio.ref, 2);
	folio_get(&folio);
	folio_put(&folio);
	(folio_get)(&folio);
	(folio_put)(&folio);
	assert_int_equal(folio_ref_count(&folio.ref), 2);
	assert_int_equal(reports, 2);
	folio_ref_on_misuse = folio_ref_misuse_default_;
}

/* True if one of the last changes recorded for the folio is @op at @line of this file. */
static bool recorded(const struct folio *folio, enum folio_ref_op op, int line)
{
	const struct folio_ref_history *history = folio_ref_history_of_(&folio->ref);
	unsigned i;

	for (i = 0; i < FOLIO_REF_HISTORY_CHANGES; i++)
		if (history->change[i].ref == &folio->ref && history->change[i].op == op &&
			history->change[i].line == line &&
			strcmp(history->change[i].file, __FILE__) == 0)
			return true;
	return false;
}

static void test_line_of_misused_lock(void **state)
{
	static struct world world;
	struct folio *folio;
	int locked, unlocked;

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), 0);
	folio_ref_on_misuse = note_misuse;
	reports = 0;
	folio_lock(folio), locked = __LINE__;
	assert_int_equal(folio_lock(folio), -EDEADLK);
	assert_int_equal(reported_line, __LINE__ - 1);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	folio_unlock(folio), unlocked = __LINE__;
	assert_int_equal(reports, 1);
	assert_int_equal(folio_unlock(folio), -EINVAL);
	assert_int_equal(reported_line, __LINE__ - 1);
	assert_string_equal(reported_file, __FILE__);
	assert_int_equal(folio_mark_dirty(folio, 0), -EINVAL);
	assert_int_equal(reported_line, __LINE__ - 1);
	assert_int_equal(reports, 3);
	assert_true(recorded(folio, FOLIO_REF_OP_LOCK, locked));
	assert_true(recorded(folio, FOLIO_REF_OP_UNLOCK, unlocked));
	folio_ref_on_misuse = folio_ref_misuse_default_;
	folio_put(folio);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_of_caller),
		cmocka_unit_test(test_line_of_misused_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
