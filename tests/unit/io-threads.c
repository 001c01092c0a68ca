/* SPDX-License-Identifier: BSD-2-Clause */
/* The backend with a pool of threads, on real files. */
#include "io-reads.h"
#include "io-running.h"
#include "io-writes.h"

static int begin(void **state)
{
	return start(state, &folio_io_threads, 32);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sizes),
		TEST(test_nothing),
		TEST(test_random),
		TEST(test_submitters),
		TEST(test_sparse),
		TEST(test_long),
		TEST(test_resized),
		TEST(test_open_errors),
		TEST(test_read_errors),
		TEST(test_again),
		TEST(test_attributes),
		TEST(test_no_direct),
		TEST(test_direct_fails),
		TEST(test_depth),
		TEST(test_many_callers),
		TEST(test_many),
		TEST(test_leaver),
		TEST(test_undisturbed),
		TEST(test_start_stop),
		TEST(test_threads),
		TEST(test_lease),
		TEST(test_write_sizes),
		TEST(test_write_random),
		TEST(test_writers),
		TEST(test_write_errors),
		TEST(test_truncate_punch_sync),
		TEST(test_open_writable),
		TEST(test_write_direct_fails),
	};

	return run_io_tests("io-threads", tests, sizeof(tests) / sizeof(tests[0]));
}
