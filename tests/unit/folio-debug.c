/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A folio's pins in the counter's debug build: misuse is told with the line of the program, not with that of the header.
 */
#ifndef FOLIO_REF_DEBUG
#define FOLIO_REF_DEBUG
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <folio/folio.h>

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
	/* Right, and as functions. */
	folio_ref_unfreeze(&folio.ref, 2);
	folio_get(&folio);
	folio_put(&folio);
	(folio_get)(&folio);
	(folio_put)(&folio);
	assert_int_equal(folio_ref_count(&folio.ref), 2);
	assert_int_equal(reports, 2);
	folio_ref_on_misuse = folio_ref_misuse_default_;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_of_caller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
