/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counter's debug build: each misuse is reported once, with the file and line of the call, and
 * the last changes of the word.
 */
#ifndef FOLIO_REF_DEBUG
#define FOLIO_REF_DEBUG
#endif

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/ref.h>

static struct {
	unsigned reports;
	const struct folio_ref *ref;
	const char *what;
	const char *file;
	int line;
} reported;

static void note_misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	reported.reports++;
	reported.ref = ref;
	reported.what = what;
	reported.file = file;
	reported.line = line;
}

static int set_up(void **state)
{
	(void)state;
	folio_ref_on_misuse = note_misuse;
	memset(&reported, 0, sizeof(reported));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	folio_ref_on_misuse = folio_ref_misuse_default_;
	return 0;
}

static void check_told(const struct folio_ref *ref, const char *what, int line)
{
	assert_int_equal(reported.reports, 1);
	assert_ptr_equal(reported.ref, ref);
	assert_string_equal(reported.file, __FILE__);
	assert_int_equal(reported.line, line);
	if (!strstr(reported.what, what))
		fail_msg("reported \"%s\", not \"%s\"", reported.what, what);
	reported.reports = 0;
}

/* The call is on the line of the macro. */
#define ASSERT_MISUSE(ref, call, what)           \
	do {                                     \
		(void)(call);                    \
		check_told(ref, what, __LINE__); \
	} while (0)

static void word_of(struct folio_ref *ref, uint32_t word)
{
	folio_u32_store_relaxed(&ref->word, word);
}

/* Correct use is not reported: two generations, with all calls, and at the limits. */
static void correct_use_is_silent(void **state)
{
	struct folio_ref ref;
	int life;

	(void)state;
	folio_ref_init_frozen(&ref);
	for (life = 0; life < 2; life++) {
		assert_false(folio_ref_try_get(&ref));
		assert_false(folio_ref_try_get_n(&ref, FOLIO_REF_COUNT_MAX));
		folio_ref_unfreeze(&ref, 1);
		assert_true(folio_ref_try_get(&ref));
		assert_true(folio_ref_try_get_n(&ref, FOLIO_REF_COUNT_MAX));
		folio_ref_get(&ref);
		folio_ref_get_n(&ref, 2);
		assert_false(folio_ref_try_freeze(&ref, 1));
		assert_false(folio_ref_put_n(&ref, FOLIO_REF_COUNT_MAX));
		assert_true(folio_ref_try_freeze(&ref, 5));
		assert_true(folio_ref_is_frozen(&ref));
		folio_ref_unfreeze(&ref, FOLIO_REF_MAX - 1);
		assert_true(folio_ref_try_get(&ref));
		assert_int_equal(folio_ref_count(&ref), FOLIO_REF_MAX);
		assert_false(folio_ref_put(&ref));
		folio_ref_get(&ref);
		assert_true(folio_ref_put_n(&ref, FOLIO_REF_MAX));
	}
	/* A getter that prevents a release. */
	word_of(&ref, 0);
	assert_true(folio_ref_try_get(&ref));
	assert_int_equal(reported.reports, 0);
}

static void put_misused(void **state)
{
	struct folio_ref ref;

	(void)state;
	folio_ref_init_frozen(&ref);
	ASSERT_MISUSE(&ref, folio_ref_put(&ref), "put on a frozen object");
	word_of(&ref, FOLIO_REF_FROZEN + 5);
	ASSERT_MISUSE(&ref, folio_ref_put_n(&ref, 2), "put on a frozen object");
	/* The thread that released puts again. */
	word_of(&ref, 1);
	assert_true(folio_ref_put(&ref));
	assert_int_equal(reported.reports, 0);
	ASSERT_MISUSE(&ref, folio_ref_put(&ref), "put on a frozen object");
	word_of(&ref, 2);
	ASSERT_MISUSE(&ref, folio_ref_put_n(&ref, 3), "unbalanced put");
	word_of(&ref, 0);
	ASSERT_MISUSE(&ref, folio_ref_put(&ref), "unbalanced put");
	word_of(&ref, 2);
	ASSERT_MISUSE(&ref, folio_ref_put_n(&ref, 0), "put of nothing");
}

static void get_misused(void **state)
{
	struct folio_ref ref;

	(void)state;
	folio_ref_init_frozen(&ref);
	ASSERT_MISUSE(&ref, (folio_ref_get(&ref), 0), "get on a frozen object");
	word_of(&ref, FOLIO_REF_FROZEN + 1);
	ASSERT_MISUSE(&ref, (folio_ref_get_n(&ref, 2), 0), "get on a frozen object");
	word_of(&ref, 0);
	ASSERT_MISUSE(&ref, (folio_ref_get(&ref), 0), "get without a reference");
	word_of(&ref, 1);
	ASSERT_MISUSE(&ref, (folio_ref_get_n(&ref, 0), 0), "out of range");
	ASSERT_MISUSE(&ref, (folio_ref_get_n(&ref, FOLIO_REF_COUNT_MAX + 1), 0), "out of range");
	word_of(&ref, FOLIO_REF_MAX);
	ASSERT_MISUSE(&ref, (folio_ref_get(&ref), 0), "leak");
	word_of(&ref, FOLIO_REF_MAX - 1);
	ASSERT_MISUSE(&ref, (folio_ref_get_n(&ref, 2), 0), "leak");
}

static void try_get_misused(void **state)
{
	struct folio_ref ref;

	(void)state;
	folio_ref_init_frozen(&ref);
	ASSERT_MISUSE(&ref, folio_ref_try_get_n(&ref, 0), "out of range");
	ASSERT_MISUSE(&ref, folio_ref_try_get_n(&ref, FOLIO_REF_COUNT_MAX + 1), "out of range");
	/* Refused and reported. */
	word_of(&ref, FOLIO_REF_MAX);
	ASSERT_MISUSE(&ref, folio_ref_try_get(&ref), "leak");
	assert_int_equal(folio_ref_count(&ref), FOLIO_REF_MAX);
	word_of(&ref, FOLIO_REF_MAX - 1);
	ASSERT_MISUSE(&ref, folio_ref_try_get_n(&ref, 2), "leak");
	assert_int_equal(folio_ref_count(&ref), FOLIO_REF_MAX - 1);
}

static void freeze_misused(void **state)
{
	struct folio_ref ref;

	(void)state;
	folio_ref_init_frozen(&ref);
	ASSERT_MISUSE(&ref, folio_ref_try_freeze(&ref, FOLIO_REF_FROZEN), "try_freeze of a frozen");
	word_of(&ref, 0);
	ASSERT_MISUSE(&ref, folio_ref_try_freeze(&ref, 0), "try_freeze at zero");
}

static void unfreeze_misused(void **state)
{
	struct folio_ref ref;

	(void)state;
	word_of(&ref, 1);
	ASSERT_MISUSE(&ref, (folio_ref_unfreeze(&ref, 1), 0), "not frozen");
	word_of(&ref, 0);
	ASSERT_MISUSE(&ref, (folio_ref_unfreeze(&ref, 1), 0), "not frozen");
	folio_ref_init_frozen(&ref);
	ASSERT_MISUSE(&ref, (folio_ref_unfreeze(&ref, 0), 0), "out of range");
	folio_ref_init_frozen(&ref);
	ASSERT_MISUSE(&ref, (folio_ref_unfreeze(&ref, FOLIO_REF_MAX + 1), 0), "out of range");
}

/* Runs @fn with standard error in a file and returns its contents. */
static const char *error_output(void (*fn)(const void *argument), const void *argument)
{
	static char text[4096];
	FILE *file = tmpfile();
	int before = dup(STDERR_FILENO);
	size_t length;

	assert_non_null(file);
	assert_true(before >= 0);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	fn(argument);
	fflush(stderr);
	assert_true(dup2(before, STDERR_FILENO) >= 0);
	close(before);
	rewind(file);
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	fclose(file);
	return text;
}

static void print_history(const void *ref)
{
	folio_ref_print_history((const struct folio_ref *)ref);
}

static void expect_history(const struct folio_ref *ref, const char *expected)
{
	assert_string_equal(error_output(print_history, ref), expected);
}

static void changes_are_remembered(void **state)
{
	struct folio_ref ref;
	char expected[1024];
	int line;

	(void)state;
	folio_ref_init_frozen(&ref);
	/* The frame may have held a word before: displaces what is remembered of it. */
	for (line = 0; line < FOLIO_REF_HISTORY_CHANGES; line++)
		folio_ref_try_get(&ref);
	line = __LINE__ + 1;
	folio_ref_unfreeze(&ref, 2);
	folio_ref_try_get_n(&ref, 3);
	folio_ref_get(&ref);
	folio_ref_put_n(&ref, 4);
	folio_ref_try_freeze(&ref, 7);
	folio_ref_try_freeze(&ref, 2);
	folio_ref_try_get(&ref);
	folio_ref_unfreeze(&ref, 1);
	folio_ref_put(&ref);
	/* A freeze that failed changed nothing; the eight changes are left. */
	snprintf(expected, sizeof(expected),
		"  %1$s:%2$d: unfreeze 2, the word was 0x80000008\n"
		"  %1$s:%3$d: try_get 3, the word was 0x00000002\n"
		"  %1$s:%4$d: get 1, the word was 0x00000005\n"
		"  %1$s:%5$d: put 4, the word was 0x00000006\n"
		"  %1$s:%6$d: freeze 0, the word was 0x00000002\n"
		"  %1$s:%7$d: try_get 1, the word was 0x80000000\n"
		"  %1$s:%8$d: unfreeze 1, the word was 0x80000001\n"
		"  %1$s:%9$d: put 1, the word was 0x00000001\n",
		__FILE__, line, line + 1, line + 2, line + 3, line + 5, line + 6, line + 7,
		line + 8);
	expect_history(&ref, expected);
	assert_int_equal(reported.reports, 0);
	/* One more change displaces the oldest; a misuse is remembered like any other change. */
	folio_ref_put(&ref);
	assert_int_equal(reported.reports, 1);
	assert_null(strstr(error_output(print_history, &ref), "unfreeze 2"));
	assert_non_null(
		strstr(error_output(print_history, &ref), "put 1, the word was 0x80000000\n"));
}

/* Two words that share a line of the table are distinguished. */
static void words_are_distinguished(void **state)
{
	static struct folio_ref words[2 * FOLIO_REF_HISTORY_WORDS];
	struct folio_ref *first = &words[0];
	struct folio_ref *second = first + 1;
	const char *text;

	(void)state;
	while (folio_ref_history_of_(second) != folio_ref_history_of_(first)) {
		second++;
		assert_true(second < words + 2 * FOLIO_REF_HISTORY_WORDS);
	}
	folio_ref_init_frozen(first);
	folio_ref_init_frozen(second);
	folio_ref_unfreeze(first, 11);
	folio_ref_unfreeze(second, 22);
	text = error_output(print_history, first);
	assert_non_null(strstr(text, "unfreeze 11,"));
	assert_null(strstr(text, "unfreeze 22,"));
	text = error_output(print_history, second);
	assert_null(strstr(text, "unfreeze 11,"));
	assert_non_null(strstr(text, "unfreeze 22,"));
}

/* By default, misuse is written to standard error and ends the program. */
static int misuse_line;

static void misuse_in_child(const void *argument)
{
	pid_t child;
	int status;

	(void)argument;
	child = fork();
	if (child == 0) {
		struct folio_ref ref;

		folio_ref_init_frozen(&ref);
		folio_ref_unfreeze(&ref, 1);
		folio_ref_put_n(&ref, 3);
		_exit(0);
	}
	misuse_line = __LINE__ - 3; /* line of the put */
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void misuse_aborts(void **state)
{
	const char *text;
	char where[256];

	(void)state;
	folio_ref_on_misuse = folio_ref_misuse_default_;
	text = error_output(misuse_in_child, NULL);
	snprintf(where, sizeof(where), "%s:%d: folio_ref 0x", __FILE__, misuse_line);
	assert_ptr_equal(strstr(text, where), text);
	assert_non_null(strstr(text, ": unbalanced put: more put than was taken\n"));
	assert_non_null(strstr(text, ": unfreeze 1, the word was 0x80000000\n"));
	assert_non_null(strstr(text, ": put 3, the word was 0x00000001\n"));
}

/* The checks work with many threads, and report nothing if nothing is wrong. */
static struct folio_ref shared;
static folio_u32 releases;

/*
 * The thread that ends a generation starts the next one and puts its first reference a little
 * later; the last one leaves it frozen.
 */
static void *get_and_put(void *argument)
{
	bool owner = false;
	unsigned i;

	(void)argument;
	for (i = 0; i < 20000; i++) {
		if (owner) {
			owner = folio_ref_put(&shared);
		} else if (folio_ref_try_get(&shared)) {
			folio_ref_get_n(&shared, 2);
			owner = folio_ref_put_n(&shared, 3);
		}
		if (owner) {
			folio_u32_fetch_add_relaxed(&releases, 1);
			folio_ref_unfreeze(&shared, 1);
		}
	}
	if (owner && folio_ref_put(&shared))
		folio_u32_fetch_add_relaxed(&releases, 1);
	return NULL;
}

static void threads_beside_each_other(void **state)
{
	pthread_t threads[3];
	unsigned i;

	(void)state;
	folio_ref_init_frozen(&shared);
	folio_ref_unfreeze(&shared, 1);
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, NULL), 0);
	if (folio_ref_put(&shared))
		folio_u32_fetch_add_relaxed(&releases, 1);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(reported.reports, 0);
	assert_true(folio_u32_load_relaxed(&releases) > 0);
	assert_true(folio_ref_is_frozen(&shared));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(correct_use_is_silent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(put_misused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(get_misused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(try_get_misused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(freeze_misused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(unfreeze_misused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(changes_are_remembered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(words_are_distinguished, set_up, tear_down),
		cmocka_unit_test_setup_teardown(misuse_aborts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(threads_beside_each_other, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("ref-debug", tests, NULL, NULL);
}
