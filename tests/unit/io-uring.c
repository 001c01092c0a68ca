/* SPDX-License-Identifier: BSD-2-Clause */
/* The backend with io_uring, on real files. */
#include <sys/wait.h>

#include "io-reads.h"
#include "io-running.h"
#include "io-writes.h"
#include "sandbox.h"

/* A child that hangs ends after so long. */
#ifndef ALARM_SECONDS
#define ALARM_SECONDS 50
#endif

/* TSan cannot start threads in the child of a process that had threads. */
#if defined(__SANITIZE_THREAD__)
#define FORKS false
#else
#define FORKS true
#endif

#define NO_SANDBOX 77 /* exit status of a child */

static int begin(void **state)
{
	return start(state, &folio_io_uring, 32);
}

static const char *name_now(struct world *world)
{
	struct folio_io_stat stat = {.size = sizeof(stat), .name = world->ops->name};

	world->ops->stat(world->context, &stat);
	return stat.name;
}

/* Use the ring also where the file system only blocks, as tmpfs does. */
static void force_ring(void *handle)
{
	((struct io_file *)handle)->blocks = false;
}

static void use_files(struct world *world)
{
	void *handle = open_file(world, "random", 0);
	struct model model;

	force_ring(handle);
	random_reads(world, handle, seed, 5);
	world->ops->close(world->context, handle);
	model_init(&model, 300 * PAGE);
	handle = open_writable(world, "written", O_CREAT | O_TRUNC, 0);
	force_ring(handle);
	random_writes(world, handle, &model, 0, 300, seed, 3);
	world->ops->close(world->context, handle);
	model_check(&model, "written");
	free(model.data);
}

/*
 * The kernel has a read of a pipe when the program gives up the call. The read completes when the
 * pipe has data. Other requests do not wait for it.
 */
static void run_denied(int error)
{
	struct folio_io_request *request;
	struct world world = {.ops = &folio_io_uring};
	struct io_file slow = {.buffered = -1};
	struct group group = GROUP_INIT, sync = GROUP_INIT;
	uint64_t random = seed;
	struct read *pending, *read;
	void *handle;
	int end[2];

	assert_int_equal(world.ops->create(&world.context, 8), 0);
	assert_string_equal(name_now(&world), "io_uring");
	assert_int_equal(pipe(end), 0);
	slow.fd = end[0];
	pending = read_new(&group, &slow, 0, 1, 1, &random);
	request = &pending->request;
	world.ops->submit(world.context, &request, 1);
	/* The kernel takes requests in order: if it has this one, it has the first one. */
	handle = open_file(&world, "random", 0);
	force_ring(handle);
	read = read_new(&sync, handle, PAGE, 3, 2, &random);
	write_now(&world, read);
	read_check_and_free(read, PAGE, RANDOM_SIZE);
	world.ops->close(world.context, handle);

	if (!sandbox_deny(SYS_io_uring_enter, error))
		_exit(NO_SANDBOX);
	use_files(&world);
	assert_string_equal(name_now(&world), "threads");
	assert_int_equal(pending->completed, 0);
	assert_int_equal(write(end[1], right, PAGE), PAGE);
	group_wait(&group);
	read_check_and_free(pending, 0, PAGE);
	use_files(&world);
	world.ops->destroy(world.context);
}

/* The call is given up while four threads submit. */
static void run_denied_in_use(int error)
{
	struct submitter submitter[4];
	struct world world = {.ops = &folio_io_uring};
	pthread_t thread[4];
	unsigned i;
	void *handle;

	assert_int_equal(world.ops->create(&world.context, 32), 0);
	handle = open_file(&world, "random", 0);
	force_ring(handle);
	for (i = 0; i < 4; i++) {
		submitter[i] = (struct submitter){&world, handle, seed + 40 + i};
		assert_int_equal(pthread_create(&thread[i], NULL, run_submitter, &submitter[i]), 0);
	}
	if (!sandbox_deny(SYS_io_uring_enter, error))
		_exit(NO_SANDBOX);
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	world.ops->close(world.context, handle);
	world.ops->destroy(world.context);
}

/* The call is given up, and the backend is not used again. */
static void run_denied_idle(int error)
{
	struct world world = {.ops = &folio_io_uring};

	assert_int_equal(world.ops->create(&world.context, 8), 0);
	if (!sandbox_deny(SYS_io_uring_enter, error))
		_exit(NO_SANDBOX);
	world.ops->destroy(world.context);
}

static void in_child(void (*run)(int error), int error)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		alarm(ALARM_SECONDS);
		run(error);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_SANDBOX)
		print_message("# skipped: the kernel has no filters of system calls\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_denied(void **state)
{
	static const int errors[] = {EPERM, ENOSYS, EACCES};
	unsigned i;

	if (!FORKS) {
		print_message("# skipped: threads cannot be started after a fork\n");
		return;
	}
	make_file("random", RANDOM_SIZE);
	for (i = 0; i < 3; i++) {
		in_child(run_denied, errors[i]);
		in_child(run_denied_in_use, errors[i]);
		in_child(run_denied_idle, errors[i]);
	}
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
		cmocka_unit_test(test_denied),
	};
	void *context = NULL;
	int error = folio_io_uring.create(&context, 4);

	if (error) {
		printf("1..0 # SKIP io_uring is unavailable: %s\n", strerror(-error));
		return 0;
	}
	folio_io_uring.destroy(context);

	return run_io_tests("io-uring", tests, sizeof(tests) / sizeof(tests[0]));
}
