/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io-running.h - tests that every backend passes of opening files, of its depth and of its threads
 * (unit/io-threads.c, unit/io-uring.c).
 */
#ifndef FOLIO_TESTS_IO_RUNNING_H
#define FOLIO_TESTS_IO_RUNNING_H

#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "io-test.h"

struct submitter {
	struct world *world;
	void *handle;
	uint64_t random;
};

static void *run_submitter(void *arg)
{
	struct submitter *submitter = arg;

	random_reads(submitter->world, submitter->handle, submitter->random, 15 * scale);
	return NULL;
}

/* Four threads, with up to 64 requests each, share a depth of 32. */
static void test_submitters(void **state)
{
	struct submitter submitter[4];
	struct world *world = *state;
	pthread_t thread[4];
	unsigned i;
	void *handle;

	make_file("random", RANDOM_SIZE);
	handle = open_file(world, "random", 0);
	for (i = 0; i < 4; i++) {
		submitter[i] = (struct submitter){world, handle, seed + 10 + i};
		assert_int_equal(pthread_create(&thread[i], NULL, run_submitter, &submitter[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	world->ops->close(world->context, handle);
}

static void test_open_errors(void **state)
{
	struct world *world = *state;
	unsigned before = count_fds();

	assert_int_equal(try_open(world, path_of("none"), O_RDONLY), -ENOENT);
	assert_int_equal(try_open(world, directory, O_RDONLY), -EISDIR);
	assert_int_equal(try_open(world, "/dev/null", O_RDONLY), -EINVAL);
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	assert_int_equal(try_open(world, path_of("fifo"), O_RDONLY), -EINVAL);
	unlink(path_of("fifo"));
	make_file("target", 1);
	assert_int_equal(symlink("target", path_of("link")), 0);
	assert_int_equal(try_open(world, path_of("link"), O_RDONLY | O_NOFOLLOW), -ELOOP);
	assert_int_equal(try_open(world, path_of("link"), O_RDONLY), 0);
	unlink(path_of("link"));
	if (geteuid() != 0) {
		assert_int_equal(chmod(path_of("target"), 0), 0);
		assert_int_equal(try_open(world, path_of("target"), O_RDONLY), -EACCES);
	}
	unlink(path_of("target"));
	assert_int_equal(count_fds(), before);
}

static void test_attributes(void **state)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {1234567, 89}};
	struct folio_io_attr first = {.struct_size = sizeof(first)}, second = first;
	struct world *world = *state;
	struct io_file *file;
	void *handle, *again;
	struct stat st;
	int flags;

	/*
	 * The open creates the file. This must work in one call, whether the file system supports
	 * direct I/O or not.
	 */
	unlink(path_of("attributes"));
	assert_int_equal(world->ops->open(world->context, path_of("attributes"),
				 O_RDWR | O_CREAT | O_EXCL, 0600, 0, &handle),
		0);
	assert_int_equal(stat(path_of("attributes"), &st), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of("attributes"), times, 0), 0);
	assert_int_equal(truncate(path_of("attributes"), 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of("attributes"), times, 0), 0);

	again = open_file(world, "attributes", FOLIO_IO_BUFFERED);
	assert_int_equal(world->ops->getattr(world->context, handle, &first), 0);
	assert_int_equal(world->ops->getattr(world->context, again, &second), 0);
	assert_memory_equal(&first, &second, sizeof(first));
	assert_int_equal(first.device, st.st_dev);
	assert_int_equal(first.inode, st.st_ino);
	assert_int_equal(first.size, 0);
	assert_int_equal(first.mtime_sec, 1234567);
	assert_int_equal(first.mtime_nsec, 89);
	assert_int_equal(truncate(path_of("attributes"), 12345), 0);
	assert_int_equal(world->ops->getattr(world->context, handle, &first), 0);
	assert_int_equal(first.size, 12345);

	file = handle;
	flags = fcntl(file->fd, F_GETFL);
	assert_int_equal(!!(flags & O_DIRECT), io_file_direct(file));
	assert_int_equal(flags & O_NONBLOCK, 0);
	assert_true(fcntl(file->fd, F_GETFD) & FD_CLOEXEC);
	file = again;
	assert_int_equal(fcntl(file->fd, F_GETFL) & (O_DIRECT | O_NONBLOCK), 0);
	assert_false(io_file_direct(file));
	world->ops->close(world->context, handle);
	world->ops->close(world->context, again);
}

/*
 * What depth promises, seen from outside: it bounds the requests that submit accepted and that did
 * not complete.
 */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned returned, finished, total, depth;
};

struct gated {
	struct folio_io_request request;
	struct iovec iov;
	struct gate *gate;
};

/*
 * Nothing completes before depth requests are submitted, so a backend that accepts fewer hangs.
 * After that, callers and completions run in parallel, and a backend that accepts more is detected.
 */
static void pass_gate(struct folio_io_request *request, ssize_t result)
{
	struct gate *gate = ((struct gated *)request)->gate;

	assert_int_equal(result, PAGE);
	free(((struct gated *)request)->iov.iov_base);
	free(request);
	pthread_mutex_lock(&gate->lock);
	while (gate->returned < gate->depth)
		pthread_cond_wait(&gate->moved, &gate->lock);
	gate->finished++;
	pthread_cond_broadcast(&gate->moved);
	pthread_mutex_unlock(&gate->lock);
}

static void test_depth(void **state)
{
	static const unsigned depths[] = {1, 2, 7};
	struct world *world = *state;
	struct folio_io_request *request;
	struct gated *gated;
	unsigned d, i, round;
	void *context, *handle;

	make_file("depth", 64 * PAGE);
	for (d = 0; d < 3; d++) {
		struct gate gate = {
			PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

		gate.depth = depths[d];
		assert_int_equal(world->ops->create(&context, depths[d]), 0);
		assert_int_equal(
			world->ops->open(context, path_of("depth"), O_RDONLY, 0, 0, &handle), 0);
		for (round = 0; round < 20 * scale; round++) {
			gate.total = 3 * depths[d] + 5;
			gate.returned = gate.finished = 0;
			for (i = 0; i < gate.total; i++) {
				gated = calloc(1, sizeof(*gated));
				gated->gate = &gate;
				gated->iov = (struct iovec){aligned_alloc(PAGE, PAGE), PAGE};
				gated->request = (struct folio_io_request){
					.handle = handle,
					.offset = i * PAGE,
					.iov = &gated->iov,
					.iov_count = 1,
					.complete = pass_gate,
				};
				request = &gated->request;
				world->ops->submit(context, &request, 1);
				pthread_mutex_lock(&gate.lock);
				gate.returned++;
				assert_true(gate.returned - gate.finished <= gate.depth);
				pthread_cond_broadcast(&gate.moved);
				pthread_mutex_unlock(&gate.lock);
			}
			pthread_mutex_lock(&gate.lock);
			while (gate.finished < gate.total)
				pthread_cond_wait(&gate.moved, &gate.lock);
			pthread_mutex_unlock(&gate.lock);
		}
		world->ops->close(context, handle);
		world->ops->destroy(context);
	}
}

/* Callers that wait for space, or threads that wait for work. */
static folio_u32 cond_waits;

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
	folio_u32_fetch_add_release(&cond_waits, 1);
	return ((__typeof__(&pthread_cond_wait))dlsym(RTLD_NEXT, "pthread_cond_wait"))(
		condition, lock);
}

struct caller {
	pthread_t thread;
	const struct folio_io_ops *ops;
	void *context;
	struct read *read;
};

static void *submit_and_wait(void *arg)
{
	struct caller *caller = arg;
	struct folio_io_request *request = &caller->read->request;

	caller->ops->submit(caller->context, &request, 1);
	return NULL;
}

static folio_u32 in_completion, may_complete;

static void complete_late(struct folio_io_request *request, ssize_t result)
{
	folio_u32_store_release(&in_completion, 1);
	while (!folio_u32_load_acquire(&may_complete))
		sched_yield();
	completed(request, result);
}

/* 256 threads wait for the only slot: as many as make a counter of 8 bits 0 again. */
static void test_many_callers(void **state)
{
	enum { CALLERS = 256 };
	struct caller *caller = calloc(CALLERS + 1, sizeof(*caller));
	const struct folio_io_ops *ops = ((struct world *)*state)->ops;
	struct group group = GROUP_INIT;
	uint64_t random = seed;
	void *context, *handle;
	unsigned i;

	make_file("callers", PAGE);
	assert_int_equal(ops->create(&context, 1), 0);
	assert_int_equal(ops->open(context, path_of("callers"), O_RDONLY, 0, 0, &handle), 0);
	folio_u32_store_relaxed(&in_completion, 0);
	folio_u32_store_relaxed(&may_complete, 0);
	for (i = 0; i <= CALLERS; i++)
		caller[i] = (struct caller){.ops = ops,
			.context = context,
			.read = read_new(&group, handle, 0, 1, 1, &random)};
	caller[0].read->request.complete = complete_late;
	submit_and_wait(&caller[0]);
	while (!folio_u32_load_acquire(&in_completion))
		sched_yield();
	folio_u32_store_relaxed(&cond_waits, 0);
	for (i = 1; i <= CALLERS; i++)
		assert_int_equal(
			pthread_create(&caller[i].thread, NULL, submit_and_wait, &caller[i]), 0);
	while (folio_u32_load_acquire(&cond_waits) < CALLERS)
		sched_yield();
	folio_u32_store_release(&may_complete, 1);
	for (i = 1; i <= CALLERS; i++)
		pthread_join(caller[i].thread, NULL);
	group_wait(&group);
	for (i = 0; i <= CALLERS; i++)
		read_check_and_free(caller[i].read, 0, PAGE);
	ops->close(context, handle);
	ops->destroy(context);
	free(caller);
}

/* Far more requests in one call than the depth. */
static void test_many(void **state)
{
	enum { COUNT = 3000 };
	struct folio_io_request **requests = calloc(COUNT, sizeof(*requests));
	struct read **reads = calloc(COUNT, sizeof(struct read *));
	struct group group = GROUP_INIT;
	struct world *world = *state;
	uint64_t random = seed;
	void *handle;
	unsigned i;

	make_file("many", 100 * PAGE);
	handle = open_file(world, "many", 0);
	for (i = 0; i < COUNT; i++) {
		reads[i] = read_new(&group, handle, i % 100 * PAGE, 1, 1, &random);
		requests[i] = &reads[i]->request;
	}
	world->ops->submit(world->context, requests, COUNT);
	group_wait(&group);
	for (i = 0; i < COUNT; i++)
		read_check_and_free(reads[i], i % 100 * PAGE, 100 * PAGE);
	world->ops->close(world->context, handle);
	free(reads);
	free(requests);
}

struct leaver {
	struct world *world;
	struct folio_io_request *requests[32];
};

static void *submit_and_leave(void *arg)
{
	struct leaver *leaver = arg;

	leaver->world->ops->submit(leaver->world->context, leaver->requests, 32);
	return NULL;
}

/* A thread that submits and then ends takes no request with it. */
static void test_leaver(void **state)
{
	struct group group = GROUP_INIT;
	struct leaver leaver = {.world = *state};
	struct world *world = *state;
	struct read *reads[32];
	uint64_t random = seed;
	pthread_t thread;
	unsigned i, round, flags;
	void *handle;
	int fd;

	make_file("random", RANDOM_SIZE);
	for (round = 0; round < 10 * scale; round++) {
		/*
		 * Buffered reads of pages that the kernel has not cached are the ones that it
		 * defers.
		 */
		flags = round % 2 ? FOLIO_IO_BUFFERED : 0;
		handle = open_file(world, "random", flags);
		fd = open(path_of("random"), O_RDONLY);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
		for (i = 0; i < 32; i++) {
			reads[i] = read_new(&group, handle, i * 20 * PAGE, 2, 1, &random);
			leaver.requests[i] = &reads[i]->request;
		}
		assert_int_equal(pthread_create(&thread, NULL, submit_and_leave, &leaver), 0);
		pthread_join(thread, NULL);
		group_wait(&group);
		for (i = 0; i < 32; i++)
			read_check_and_free(reads[i], i * 20 * PAGE, RANDOM_SIZE);
		world->ops->close(world->context, handle);
	}
}

struct waker {
	struct folio_io_request request;
	struct iovec iov;
	int event;
};

static void wake(struct folio_io_request *request, ssize_t result)
{
	eventfd_write(((struct waker *)request)->event, (eventfd_t)result);
}

/* A program that waits for something else while its reads are in flight gets no EINTR. */
static void test_undisturbed(void **state)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct world *world = *state;
	struct waker waker = {.event = eventfd(0, 0)};
	struct folio_io_request *request = &waker.request;
	uint64_t random = seed;
	eventfd_t value;
	unsigned i;
	void *handle;
	int poll = epoll_create1(0);

	make_file("random", RANDOM_SIZE);
	handle = open_file(world, "random", 0);
	assert_int_equal(epoll_ctl(poll, EPOLL_CTL_ADD, waker.event, &event), 0);
	waker.iov = (struct iovec){aligned_alloc(PAGE, PAGE), PAGE};
	for (i = 0; i < 100 * scale; i++) {
		waker.request = (struct folio_io_request){
			.handle = handle,
			.offset = draw(&random, RANDOM_SIZE / PAGE) * PAGE,
			.iov = &waker.iov,
			.iov_count = 1,
			.complete = wake,
		};
		world->ops->submit(world->context, &request, 1);
		assert_int_equal(epoll_wait(poll, &event, 1, -1), 1);
		assert_int_equal(eventfd_read(waker.event, &value), 0);
		assert_int_equal(value, PAGE);
	}
	free(waker.iov.iov_base);
	world->ops->close(world->context, handle);
	close(poll);
	close(waker.event);
}

static void test_start_stop(void **state)
{
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	unsigned i, fds = count_fds();
	uint64_t random = seed;
	void *context, *handle;
	struct read *read;

	make_file("start", PAGE);
	assert_int_equal(world->ops->create(&context, 0), -EINVAL);
	for (i = 0; i < 30 * scale; i++) {
		assert_int_equal(world->ops->create(&context, 1 + i % 5), 0);
		if (i % 3) {
			assert_int_equal(world->ops->open(context, path_of("start"), O_RDONLY, 0, 0,
						 &handle),
				0);
			read = read_new(&group, handle, 0, 1, 1, &random);
			request = &read->request;
			world->ops->submit(context, &request, 1);
			group_wait(&group);
			read_check_and_free(read, 0, PAGE);
			world->ops->close(context, handle);
		}
		world->ops->destroy(context);
	}
	assert_int_equal(count_fds(), fds);
}

/* The backend's threads have names and block all signals. */
static void test_threads(void **state)
{
	const char *name;
	struct world *world = *state;
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300], line[256];
	unsigned found = 0;
	sigset_t own;

	name = world->ops == &folio_io_uring ? "folio-uring\n" : "folio-io\n";
	while ((entry = readdir(dir))) {
		unsigned long long blocked = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (!fgets(line, sizeof(line), file))
			line[0] = 0;
		fclose(file);
		if (strcmp(line, name) != 0)
			continue;
		found++;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = fopen(path, "r");
		while (fgets(line, sizeof(line), file))
			sscanf(line, "SigBlk: %llx", &blocked);
		fclose(file);
		/*
		 * The bits of signals 1 .. 31 without SIGKILL and SIGSTOP, which cannot be blocked.
		 */
		assert_int_equal(blocked & 0x7ffbfeffu, 0x7ffbfeffu);
	}
	closedir(dir);
	assert_true(found >= 1);
	/* The caller's mask is unchanged. */
	pthread_sigmask(SIG_SETMASK, NULL, &own);
	assert_false(sigismember(&own, SIGINT));
}

/* The open makes the kernel break another process's lease on the file, and waits for it. */
static void *release_lease(void *arg)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigwait(&set, &got);
	fcntl(*(int *)arg, F_SETLEASE, F_UNLCK);
	return NULL;
}

static void test_lease(void **state)
{
	sigset_t set, old;
	pthread_t thread;
	int fd;

	make_file("lease", 10);
	fd = open(path_of("lease"), O_RDONLY);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		print_message("# skipped: no leases: %s\n", strerror(errno));
	} else {
		assert_int_equal(pthread_create(&thread, NULL, release_lease, &fd), 0);
		assert_int_equal(try_open(*state, path_of("lease"), O_RDONLY), 0);
		pthread_join(thread, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(fd);
}

#endif
