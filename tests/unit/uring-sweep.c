/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend with io_uring, when the kernel refuses to set up the ring, or to enter it, for a
 * moment or for good; and when no thread can be started that could stand in for it. The calls of
 * liburing and of libc that matter are replaced by functions that fail on command.
 */
#include <dlfcn.h>
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "io-test.h"

/* ---- calls that fail on command ---- */

static struct {
	unsigned inits; /* so many calls of io_uring_queue_init fail with EINVAL */
	bool no_event, no_threads;
	enum { PROBE_REAL, PROBE_NONE, PROBE_EMPTY, PROBE_READS } probe;
	folio_u32 waits;   /* so many calls that enter the ring to wait fail with enter_error */
	folio_u32 submits; /* likewise of those that only submit */
	folio_u32 polls;   /* so many calls of poll fail */
	folio_u32 hasty;   /* calls of poll right after one that failed, without a pause */
	folio_u32 enter_error;
	/* Calls of these. */
	folio_u32 cond_waits, broadcasts, enters, event_writes, threads, joins;
	folio_u32 idle_enters; /* with nothing to submit, and no wait */
	/* The ring's thread stops before it waits: to be held, it is. */
	folio_u32 hold, held;
} os;

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

static bool take_one(folio_u32 *count)
{
	uint32_t n = folio_u32_load_relaxed(count);

	while (n && !folio_u32_cas_relaxed(count, &n, n - 1))
		continue;
	return n;
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	if (os.inits) {
		os.inits--;
		return -EINVAL;
	}
	return REAL(io_uring_queue_init, entries, ring, flags);
}

struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring)
{
	if (os.probe == PROBE_NONE)
		return NULL;
	if (os.probe != PROBE_REAL) {
		struct io_uring_probe *probe =
			calloc(1, sizeof(*probe) + 256 * sizeof(probe->ops[0]));

		probe->last_op = 255;
		if (os.probe == PROBE_READS)
			probe->ops[IORING_OP_READ].flags = IO_URING_OP_SUPPORTED;
		return probe;
	}
	return REAL(io_uring_get_probe_ring, ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait)
{
	folio_u32_fetch_add_relaxed(&os.enters, 1);
	if (!wait && !io_uring_sq_ready(ring))
		folio_u32_fetch_add_relaxed(&os.idle_enters, 1);
	while (wait && folio_u32_load_acquire(&os.hold)) {
		folio_u32_store_release(&os.held, 1);
		sched_yield();
	}
	if (take_one(wait ? &os.waits : &os.submits))
		return -(int)folio_u32_load_acquire(&os.enter_error);
	return REAL(io_uring_submit_and_wait, ring, wait);
}

int eventfd(unsigned count, int flags)
{
	if (os.no_event) {
		errno = EMFILE;
		return -1;
	}
	return REAL(eventfd, count, flags);
}

int eventfd_write(int fd, eventfd_t value)
{
	folio_u32_fetch_add_relaxed(&os.event_writes, 1);
	return REAL(eventfd_write, fd, value);
}

/* The thread's last call of poll has failed, and it has not paused since. */
static _Thread_local bool refused;

/* Nothing here waits for time. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	refused = false;
	return 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	if (refused)
		folio_u32_fetch_add_relaxed(&os.hasty, 1);
	refused = take_one(&os.polls);
	if (refused) {
		errno = EPERM;
		return -1;
	}
	return REAL(poll, fds, count, timeout);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	if (os.no_threads)
		return EAGAIN;
	folio_u32_fetch_add_relaxed(&os.threads, 1);
	return REAL(pthread_create, thread, attr, run, arg);
}

int pthread_join(pthread_t thread, void **result)
{
	folio_u32_fetch_add_relaxed(&os.joins, 1);
	return REAL(pthread_join, thread, result);
}

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
	folio_u32_fetch_add_release(&os.cond_waits, 1);
	return REAL(pthread_cond_wait, condition, lock);
}

int pthread_cond_broadcast(pthread_cond_t *condition)
{
	folio_u32_fetch_add_release(&os.broadcasts, 1);
	return REAL(pthread_cond_broadcast, condition);
}

/* ---- setting up ---- */

static void expect_create(int expected)
{
	unsigned fds = count_fds();
	void *context = NULL;

	assert_int_equal(folio_io_uring.create(&context, 8), expected);
	if (!expected)
		folio_io_uring.destroy(context);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(folio_u32_load_relaxed(&os.joins), folio_u32_load_relaxed(&os.threads));
	assert_int_equal(os.inits, 0);
	assert_int_equal(folio_u32_load_relaxed(&os.waits), 0);
}

static void enter_fails(int error, unsigned times)
{
	folio_u32_store_release(&os.enter_error, (uint32_t)error);
	folio_u32_store_relaxed(&os.submits, times);
	folio_u32_store_relaxed(&os.waits, times);
}

/* An older kernel has not all flags, or not all requests; or there are no descriptors left. */
static void test_create(void **state)
{
	unsigned i;

	for (i = 0; i <= 3; i++) {
		os.inits = i;
		expect_create(i < 3 ? 0 : -EINVAL);
	}
	os.no_event = true;
	expect_create(-EMFILE);
	os.no_event = false;
	for (os.probe = PROBE_NONE; os.probe <= PROBE_READS; os.probe++)
		expect_create(-ENOSYS);
	os.probe = PROBE_REAL;
	/* A signal may come at any time; anything else is a refusal. */
	enter_fails(EINTR, 2);
	expect_create(0);
	enter_fails(EACCES, 1);
	expect_create(-EACCES);
	enter_fails(0, 0);
	os.no_threads = true;
	expect_create(-ENOMEM);
	os.no_threads = false;
	expect_create(0);
}

/* ---- running ---- */

static const char *name_now(struct world *world)
{
	struct folio_io_stat stat = {.size = sizeof(stat), .name = world->ops->name};

	world->ops->stat(world->context, &stat);
	return stat.name;
}

static struct io_file *open_for_ring(struct world *world)
{
	struct io_file *file = open_file(world, "random", 0);

	/* Use the ring also where the file system only blocks, as tmpfs does. */
	file->blocks = false;
	return file;
}

static struct world world_new(void)
{
	struct world world = {.ops = &folio_io_uring};

	make_file("random", RANDOM_SIZE);
	assert_int_equal(world.ops->create(&world.context, 8), 0);
	return world;
}

/* The kernel is short of memory for a moment, or a signal comes: the ring stays in use. */
static void test_refused_for_a_moment(void **state)
{
	static const int errors[] = {EAGAIN, EBUSY, EINTR};
	struct world world = world_new();
	struct io_file *file = open_for_ring(&world);
	unsigned i;

	for (i = 0; i < 3; i++) {
		/* Twice that number in a row would be too many. */
		enter_fails(errors[i], 5);
		random_reads(&world, file, seed + i, 5);
		/* The last of them may be a wait for more requests. */
		while (folio_u32_load_relaxed(&os.waits) && !strcmp(name_now(&world), "io_uring"))
			sched_yield();
		assert_string_equal(name_now(&world), "io_uring");
	}
	world.ops->close(world.context, file);
	world.ops->destroy(world.context);
}

/* It refuses for good, after some attempts or at once; poll may be refused as well. */
static void test_refused_for_good(void **state)
{
	static const int errors[] = {EAGAIN, EPERM};
	unsigned i;

	for (i = 0; i < 2; i++) {
		struct world world = world_new();
		struct io_file *file = open_for_ring(&world);

		folio_u32_store_relaxed(&os.polls, 3);
		enter_fails(errors[i], UINT32_MAX);
		random_reads(&world, file, seed + i, 3);
		assert_string_equal(name_now(&world), "threads");
		/* It tries again each time. */
		while (folio_u32_load_relaxed(&os.polls))
			sched_yield();
		world.ops->close(world.context, file);
		world.ops->destroy(world.context);
		enter_fails(0, 0);
		assert_int_equal(folio_u32_load_relaxed(&os.hasty), 0);
	}
}

/* Requests that the completion of another submits, and the kernel refuses the ring from then on. */
static struct {
	struct world world;
	struct folio_io_request *requests[4];
} after;

static void complete_and_refuse(struct folio_io_request *request, ssize_t result)
{
	enter_fails(EPERM, UINT32_MAX);
	after.world.ops->submit(after.world.context, after.requests, 4);
	completed(request, result);
}

/*
 * The kernel refuses the ring when requests are prepared that it has not taken: each of them
 * completes. No thread can be started, so that they have when the ring's thread polls.
 */
static void test_refused_with_prepared(void **state)
{
	struct world world = after.world = world_new();
	struct io_file *file = open_for_ring(&world);
	struct folio_io_request *request;
	struct group group = GROUP_INIT;
	struct read *reads[5];
	uint64_t random = seed;
	unsigned i, lost;

	for (i = 0; i < 5; i++)
		reads[i] = read_new(&group, file, i * PAGE, 1, 1, &random);
	for (i = 0; i < 4; i++)
		after.requests[i] = &reads[1 + i]->request;
	os.no_threads = true;
	folio_u32_store_relaxed(&os.polls, 1);
	request = &reads[0]->request;
	request->complete = complete_and_refuse;
	world.ops->submit(world.context, &request, 1);
	while (folio_u32_load_acquire(&os.polls))
		sched_yield();
	/* The lock orders what the ring's thread has read before what follows. */
	pthread_mutex_lock(&group.lock);
	lost = group.pending;
	pthread_mutex_unlock(&group.lock);
	os.no_threads = false;
	enter_fails(0, 0);
	assert_int_equal(lost, 0);
	for (i = 0; i < 5; i++)
		read_check_and_free(reads[i], i * PAGE, RANDOM_SIZE);
	world.ops->close(world.context, file);
	world.ops->destroy(world.context);
}

/*
 * Requests of a file that only blocks are not for the ring, and there are no threads for them: the
 * ring's own thread runs them. In the same batch are requests that are for the ring.
 */
static void test_no_threads(void **state)
{
	enum { COUNT = 6 };
	struct world world = world_new();
	struct io_file *file[2] = {open_for_ring(&world), open_for_ring(&world)};
	struct folio_io_request *requests[COUNT];
	struct group group = GROUP_INIT;
	struct read *reads[COUNT];
	uint64_t random = seed;
	unsigned i, turn;

	file[1]->blocks = true;
	for (turn = 0; turn < 2; turn++) {
		os.no_threads = turn == 0;
		for (i = 0; i < COUNT; i++) {
			reads[i] = read_new(&group, file[1 - i / 2 % 2], i * PAGE, 2, 1, &random);
			requests[i] = &reads[i]->request;
		}
		world.ops->submit(world.context, requests, COUNT);
		group_wait(&group);
		for (i = 0; i < COUNT; i++) {
			assert_string_equal(reads[i]->thread,
				os.no_threads || i / 2 % 2 ? "folio-uring" : "folio-io");
			read_check_and_free(reads[i], i * PAGE, RANDOM_SIZE);
		}
		assert_string_equal(name_now(&world), "io_uring");
	}
	world.ops->close(world.context, file[0]);
	world.ops->close(world.context, file[1]);
	world.ops->destroy(world.context);
}

/* ---- waiting for space ---- */

enum { SPACE_DEPTH_MAX = 64 };

/* More reads of a pipe than the depth. Each page that is written completes one of them. */
static struct {
	struct world world;
	struct io_file file;
	int end[2];
	struct group group;
	struct read *reads[SPACE_DEPTH_MAX + 1];
	folio_u32 completed;
	/* Broadcasts when the nth read completed. */
	uint32_t broadcasts[SPACE_DEPTH_MAX + 1];
} space;

static void complete_and_look(struct folio_io_request *request, ssize_t result)
{
	space.broadcasts[folio_u32_load_relaxed(&space.completed)] =
		folio_u32_load_acquire(&os.broadcasts);
	folio_u32_fetch_add_release(&space.completed, 1);
	completed(request, result);
}

static void submit_one(unsigned n)
{
	struct folio_io_request *request = &space.reads[n]->request;

	request->complete = complete_and_look;
	space.world.ops->submit(space.world.context, &request, 1);
}

static void *submit_last(void *arg)
{
	submit_one(*(unsigned *)arg);
	return NULL;
}

/* Reads @first .. @last complete, one after the other. */
static void complete_reads(unsigned first, unsigned last)
{
	unsigned i;

	for (i = first; i <= last; i++) {
		assert_int_equal(write(space.end[1], right, PAGE), PAGE);
		while (folio_u32_load_acquire(&space.completed) < i)
			sched_yield();
	}
}

/*
 * A caller that waits for space is woken when an eighth of the depth is free, not by each
 * completion; and while no caller waits, none is woken.
 */
static void test_space(void **state)
{
	static const unsigned depths[] = {1, 7, 15, 17, 64};
	uint64_t random = seed;
	unsigned d, i, depth, batch;
	pthread_t waiter;

	for (d = 0; d < sizeof(depths) / sizeof(depths[0]); d++) {
		depth = depths[d];
		batch = depth < 8 ? 1 : depth / 8;
		memset(&space, 0, sizeof(space));
		space.group = (struct group)GROUP_INIT;
		space.world.ops = &folio_io_uring;
		assert_int_equal(space.world.ops->create(&space.world.context, depth), 0);
		assert_int_equal(pipe(space.end), 0);
		space.file = (struct io_file){.fd = space.end[0], .buffered = -1};
		for (i = 0; i <= depth; i++)
			space.reads[i] = read_new(&space.group, &space.file, 0, 1, 1, &random);
		for (i = 0; i < depth; i++)
			submit_one(i);
		folio_u32_store_relaxed(&os.cond_waits, 0);
		folio_u32_store_relaxed(&os.broadcasts, 0);
		assert_int_equal(pthread_create(&waiter, NULL, submit_last, &depth), 0);
		while (!folio_u32_load_acquire(&os.cond_waits))
			sched_yield();
		complete_reads(1, batch);
		/* No further completion wakes it. */
		pthread_join(waiter, NULL);
		assert_int_equal(space.broadcasts[batch - 1], 0);
		assert_int_equal(folio_u32_load_acquire(&os.broadcasts), 1);
		complete_reads(batch + 1, depth + 1);
		group_wait(&space.group);
		space.world.ops->destroy(space.world.context);
		assert_int_equal(folio_u32_load_acquire(&os.broadcasts), 1);
		for (i = 0; i <= depth; i++)
			read_check_and_free(space.reads[i], 0, PAGE);
		close(space.end[0]);
		close(space.end[1]);
	}
}

/* ---- waking the thread ---- */

static void complete_and_hold(struct folio_io_request *request, ssize_t result)
{
	folio_u32_store_release(&os.hold, 1);
	completed(request, result);
}

/* The thread is about to wait: the first of several requests wakes it. */
static void test_one_wake(void **state)
{
	struct world world = world_new();
	struct io_file *file = open_for_ring(&world);
	struct folio_io_request *request;
	struct group group = GROUP_INIT;
	struct read *reads[4];
	uint64_t random = seed;
	unsigned i;

	folio_u32_store_relaxed(&os.held, 0);
	for (i = 0; i < 4; i++) {
		reads[i] = read_new(&group, file, i * PAGE, 1, 1, &random);
		request = &reads[i]->request;
		if (i == 0)
			request->complete = complete_and_hold;
		world.ops->submit(world.context, &request, 1);
		while (!folio_u32_load_acquire(&os.held))
			sched_yield();
		if (i == 0)
			folio_u32_store_relaxed(&os.event_writes, 0);
	}
	assert_int_equal(folio_u32_load_relaxed(&os.event_writes), 1);
	folio_u32_store_release(&os.hold, 0);
	group_wait(&group);
	for (i = 0; i < 4; i++)
		read_check_and_free(reads[i], i * PAGE, RANDOM_SIZE);
	world.ops->close(world.context, file);
	world.ops->destroy(world.context);
}

/* ---- completions that submit ---- */

/* Reads of a pipe each. */
enum { HOLDER, ONE, OTHER, EFFECT, IDLE, CAUSED = IDLE + 16 };

static struct {
	struct world world;
	struct io_file file[CAUSED];
	int end[CAUSED][2];
	struct group group;
	struct read *reads[CAUSED];
	folio_u32 held, go;
	folio_u32 before, after; /* calls that enter the ring */
} caused;

static void submit_caused(unsigned n);

static void complete_caused(struct folio_io_request *request, ssize_t result)
{
	if (request == &caused.reads[HOLDER]->request) {
		folio_u32_store_release(&caused.held, 1);
		while (!folio_u32_load_acquire(&caused.go))
			sched_yield();
	} else if (!folio_u32_load_relaxed(&caused.before)) {
		folio_u32_store_relaxed(&caused.before, folio_u32_load_relaxed(&os.enters));
		submit_caused(EFFECT);
	} else if (!folio_u32_load_relaxed(&caused.after)) {
		folio_u32_store_release(&caused.after, folio_u32_load_relaxed(&os.enters));
	}
	completed(request, result);
}

static void submit_caused(unsigned n)
{
	struct folio_io_request *request = &caused.reads[n]->request;

	request->complete = complete_caused;
	caused.world.ops->submit(caused.world.context, &request, 1);
}

static void let_read(unsigned n)
{
	assert_int_equal(write(caused.end[n][1], right, PAGE), PAGE);
}

/* In the meantime, @idle other reads are in flight. */
static void request_of_a_completion(unsigned idle)
{
	uint64_t random = seed;
	unsigned i;

	memset(&caused, 0, sizeof(caused));
	caused.group = (struct group)GROUP_INIT;
	caused.world.ops = &folio_io_uring;
	assert_int_equal(caused.world.ops->create(&caused.world.context, 32), 0);
	for (i = 0; i < IDLE + idle; i++) {
		assert_int_equal(pipe(caused.end[i]), 0);
		caused.file[i] = (struct io_file){.fd = caused.end[i][0], .buffered = -1};
		caused.reads[i] = read_new(&caused.group, &caused.file[i], 0, 1, 1, &random);
	}
	for (i = IDLE; i < IDLE + idle; i++)
		submit_caused(i);
	for (i = 0; i < EFFECT; i++)
		submit_caused(i);
	let_read(HOLDER);
	while (!folio_u32_load_acquire(&caused.held))
		sched_yield();
	let_read(ONE);
	let_read(OTHER);
	folio_u32_store_release(&caused.go, 1);
	while (!folio_u32_load_acquire(&caused.after))
		sched_yield();
	let_read(EFFECT);
	for (i = IDLE; i < IDLE + idle; i++)
		let_read(i);
	group_wait(&caused.group);
	assert_true(folio_u32_load_relaxed(&caused.after) > folio_u32_load_relaxed(&caused.before));
	caused.world.ops->destroy(caused.world.context);
	for (i = 0; i < IDLE + idle; i++) {
		read_check_and_free(caused.reads[i], 0, PAGE);
		close(caused.end[i][0]);
		close(caused.end[i][1]);
	}
}

/*
 * Two reads have ended. What the completion of one submits is submitted before the other completes,
 * also if the device has enough to do.
 */
static void test_request_of_a_completion(void **state)
{
	request_of_a_completion(0);
	request_of_a_completion(CAUSED - IDLE);
}

/* Of all the calls above that enter the ring, none was for nothing. */
static void test_no_idle_call(void **state)
{
	assert_true(folio_u32_load_relaxed(&os.enters) > 0);
	assert_int_equal(folio_u32_load_relaxed(&os.idle_enters), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_refused_for_a_moment),
		cmocka_unit_test(test_refused_with_prepared),
		cmocka_unit_test(test_refused_for_good),
		cmocka_unit_test(test_no_threads),
		cmocka_unit_test(test_space),
		cmocka_unit_test(test_one_wake),
		cmocka_unit_test(test_request_of_a_completion),
		cmocka_unit_test(test_no_idle_call),
	};
	void *context = NULL;
	int error = folio_io_uring.create(&context, 4);

	if (error) {
		printf("1..0 # SKIP io_uring is unavailable: %s\n", strerror(-error));
		return 0;
	}
	folio_io_uring.destroy(context);
	alarm(120);
	return run_io_tests("uring-sweep", tests, sizeof(tests) / sizeof(tests[0]));
}
