/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend.c - waits in the library's backends: for work, for space, for the ring.
 *
 * There is no cache: the only threads are those of the backend and of the test, so a thread that is
 * about to take a lock is the one that the test waits for.
 */
#include "race.h"

#include "io/file.h"

/* A backend, and a file of one page. */
struct backend {
	const struct folio_io_ops *ops;
	unsigned depth;
	void *context, *handle;
	char path[32];
};

/* A read of that page. Its completion stops at the gate, unless that is open. */
struct read {
	struct folio_io_request request;
	struct iovec iov;
	struct gate gate;
	folio_u32 done;
	_Alignas(FOLIO_PAGE_SIZE) char page[FOLIO_PAGE_SIZE];
};

static struct backend backend;
static struct read reads[2];

static void completed(struct folio_io_request *request, ssize_t result)
{
	struct read *read = (struct read *)request;

	assert_int_equal(result, PAGE);
	folio_u32_fetch_add_release(&read->gate.arrived, 1);
	wait_until(folio_u32_load_acquire(&read->gate.open));
	folio_u32_store_release(&read->done, 1);
}

static ssize_t create_run(struct task *task)
{
	(void)task;
	return backend.ops->create(&backend.context, backend.depth);
}

/* Opens the file, and sets up the reads. */
static void open_file(void)
{
	int fd;

	strcpy(backend.path, "folio-race-XXXXXX");
	fd = mkstemp(backend.path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	close(fd);
	assert_int_equal(
		backend.ops->open(backend.context, backend.path, O_RDONLY, 0, 0, &backend.handle),
		0);
	unlink(backend.path);
	/* The ring reads also on a file system that only blocks. */
	((struct io_file *)backend.handle)->blocks = false;
}

static void close_backend(void)
{
	backend.ops->close(backend.context, backend.handle);
	backend.ops->destroy(backend.context);
	watch(NULL);
	alarm(0);
}

static ssize_t submit_run(struct task *task)
{
	struct read *read = &reads[task->offset];
	struct folio_io_request *request = &read->request;

	read->iov = (struct iovec){.iov_base = read->page, .iov_len = PAGE};
	*request = (struct folio_io_request){
		.handle = backend.handle,
		.iov = &read->iov,
		.iov_count = 1,
		.op = FOLIO_IO_READ,
		.complete = completed,
	};
	backend.ops->submit(backend.context, &request, 1);
	return 0;
}

static bool is_done(unsigned n)
{
	return folio_u32_load_acquire(&reads[n].done);
}

/* @open: completions do not stop. */
static void reads_begin(bool open)
{
	unsigned i;

	memset(reads, 0, sizeof(reads));
	for (i = 0; open && i < 2; i++)
		open_gate(&reads[i].gate);
}

/* @gate, unless NULL, stops a thread of the backend that is to be created. False: no io_uring. */
static bool backend_begin(const struct folio_io_ops *ops, unsigned depth, struct gate *gate)
{
	alarm(ALARM_SECONDS);
	backend = (struct backend){.ops = ops, .depth = depth};
	folio_ptr_store_release(&any_thread, gate);
	if (create_run(NULL)) {
		folio_ptr_store_release(&any_thread, NULL);
		alarm(0);
		return false;
	}
	open_file();
	return true;
}

/*
 *	thread                                          submitter
 *	finds no request, under the lock
 *	                                                is about to take the lock
 *	sleeps
 *	                                                appends a request, wakes
 *	runs it
 */
void test_work_for_a_thread(void **state)
{
	struct gate gate = {.point = FOLIO_PAUSE_cond_sleep};
	struct task submitter = {.offset = 0};

	(void)state;
	reads_begin(true);
	assert_true(backend_begin(&folio_io_threads, 1, &gate));
	arrived(&gate);
	watch(&any_lock);
	task_begin(&submitter, NULL, submit_run, NOWHERE);
	wait_until(folio_u32_load_acquire(&lock_attempts));
	open_gate(&gate);
	wait_until(is_done(0));
	task_end(&submitter);
	close_backend();
}

/*
 *	submitter                                       thread
 *	                                                runs a request
 *	finds no space, under the lock
 *	                                                has completed it, is about to take the lock
 *	sleeps
 *	                                                makes space, wakes
 *	submits
 */
static void wait_for_space(const struct folio_io_ops *ops)
{
	struct task first = {.offset = 0}, second = {.offset = 1};

	reads_begin(false);
	if (!backend_begin(ops, 1, NULL))
		skip();
	task_begin(&first, NULL, submit_run, NOWHERE);
	arrived(&reads[0].gate);
	task_end(&first);
	task_begin(&second, NULL, submit_run, FOLIO_PAUSE_cond_sleep);
	watch(&any_lock);
	open_gate(&reads[1].gate);
	open_gate(&reads[0].gate);
	wait_until(folio_u32_load_acquire(&lock_attempts));
	open_gate(&second.gate);
	task_end(&second);
	wait_until(is_done(1));
	close_backend();
}

void test_space_for_a_thread(void **state)
{
	(void)state;
	wait_for_space(&folio_io_threads);
}

void test_space_in_the_ring(void **state)
{
	(void)state;
	wait_for_space(&folio_io_uring);
}

/*
 *	creator                                         thread of the ring
 *	finds that the ring is not set up, under the
 *	lock
 *	                                                is about to take the lock
 *	sleeps
 *	                                                stores that it is, wakes
 */
void test_ring_is_set_up(void **state)
{
	struct gate start = {.point = FOLIO_PAUSE_thread_started};
	struct task creator = {.offset = 0};
	int error;

	(void)state;
	alarm(ALARM_SECONDS);
	backend = (struct backend){.ops = &folio_io_uring, .depth = 1};
	folio_ptr_store_release(&any_thread, &start);
	task_start(&creator, NULL, create_run, FOLIO_PAUSE_cond_sleep);
	wait_until(folio_u32_load_acquire(&creator.gate.arrived) || task_done(&creator));
	if (task_done(&creator)) {
		/* There is no such thread. */
		folio_ptr_store_release(&any_thread, NULL);
		task_end(&creator);
		alarm(0);
		skip();
	}
	arrived(&start);
	watch(&any_lock);
	open_gate(&start);
	wait_until(folio_u32_load_acquire(&lock_attempts));
	error = (int)task_end(&creator);
	watch(NULL);
	alarm(0);
	if (error)
		skip();
	open_file();
	close_backend();
}

/*
 *	thread of the ring                              submitter
 *	finds no request, sets asleep
 *	                                                appends a request, writes the eventfd
 *	enters the ring: must be woken by that
 */
void test_request_before_the_ring_sleeps(void **state)
{
	struct gate gate = {.point = FOLIO_PAUSE_ring_sleep};
	struct task submitter = {.offset = 0};

	(void)state;
	reads_begin(true);
	if (!backend_begin(&folio_io_uring, 1, &gate))
		skip();
	arrived(&gate);
	task_begin(&submitter, NULL, submit_run, NOWHERE);
	task_end(&submitter);
	open_gate(&gate);
	wait_until(is_done(0));
	close_backend();
}

/*
 *	thread of the ring      first submitter         second submitter
 *	sets asleep
 *	                        appends a request,
 *	                        clears asleep
 *	enters the ring
 *	                                                finds no space: waits for the first
 *	                        writes the eventfd
 *	runs both
 */
void test_request_before_the_ring_is_woken(void **state)
{
	struct gate gate = {.point = FOLIO_PAUSE_ring_sleep};
	struct task first = {.offset = 0}, second = {.offset = 1};

	(void)state;
	reads_begin(true);
	if (!backend_begin(&folio_io_uring, 1, &gate))
		skip();
	arrived(&gate);
	task_begin(&first, NULL, submit_run, FOLIO_PAUSE_ring_wake);
	open_gate(&gate);
	task_begin(&second, NULL, submit_run, FOLIO_PAUSE_cond_sleep);
	task_end(&first);
	task_end(&second);
	wait_until(is_done(0) && is_done(1));
	close_backend();
}

/*
 *	thread of the ring                              submitter
 *	completes a request; is awake
 *	                                                appends a second one; frees the lock
 *	runs it; finds no other, sets asleep
 *	                                                goes on: must leave that as it is
 *	                                                submits a third one, must wake the thread
 */
void test_request_while_the_ring_is_awake(void **state)
{
	struct gate sleep = {.point = FOLIO_PAUSE_ring_sleep};
	struct task first = {.offset = 0}, second = {.offset = 1}, third = {.offset = 0};

	(void)state;
	reads_begin(false);
	if (!backend_begin(&folio_io_uring, 2, NULL))
		skip();
	task_begin(&first, NULL, submit_run, NOWHERE);
	task_end(&first);
	arrived(&reads[0].gate);
	task_begin(&second, NULL, submit_run, UNLOCKED);
	open_gate(&reads[0].gate);
	arrived(&reads[1].gate);
	folio_ptr_store_release(&any_thread, &sleep);
	open_gate(&reads[1].gate);
	arrived(&sleep);
	open_gate(&sleep);
	task_end(&second);
	reads_begin(true);
	task_begin(&third, NULL, submit_run, NOWHERE);
	task_end(&third);
	wait_until(is_done(0));
	close_backend();
}
