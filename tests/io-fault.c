/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <folio/folio.h>

#include "fake-file.h"
#include "io-fault.h"

#define THREADS_MAX    16
#define FILES_MAX      255
#define DEVICES        2
/* io_fault_fd of the first file; no descriptor of the process. */
#define FD_FIRST       1000000

/* A failed or short read leaves this in the buffer. */
#define GARBAGE        0xdb

/*
 * The identity of a page in one word: file << 56 | generation << 32 | the lower half of the page's
 * index. page_base spreads it over all bytes in a way that can be inverted, and adds the upper
 * half.
 */
#define GENERATION_MAX ((1u << 24) - 1)
#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX)

#define SPREAD_1       0xd6e8feb86659fd93u
#define SPREAD_2       0xa3b195354a39b70du
#define STEP           0x9e3779b97f4a7c15u
#define UPPER          0xd1342543de82ef95u

struct io_fault_file {
	struct io_fault *io;
	uint64_t id;
	const unsigned char *bytes; /* NULL: generated */
	uint64_t capacity;          /* size of @bytes */
	/* Guarded by io->lock. */
	char *path; /* NULL: another file took the name */
	uint64_t size;
	uint64_t generation;
	uint64_t end; /* no read goes past the page of this byte */
	struct fake_file fake;
	uint64_t fail_offset, fail_len;
	int fail_error;
};

struct handle {
	struct io_fault_file *file;
	bool probe;
};

/* Counts down to the call that must fail; 0: none. */
struct order {
	uint64_t nth;
	uint64_t value;
};

struct io_fault {
	unsigned threads; /* set at creation, never changed */

	pthread_mutex_t lock; /* guards the rest of the struct */
	pthread_cond_t work;  /* a read may proceed, or the threads must stop */
	pthread_cond_t event; /* any other event */
	uint64_t random;
	struct io_fault_file *file[FILES_MAX];
	unsigned files;
	uint64_t inodes[DEVICES]; /* the last number given, by device */

	struct order fail[IO_FAULT_OPS];
	struct order shorten;
	unsigned rate[IO_FAULT_OPS];
	int rate_error[IO_FAULT_OPS];

	struct folio_io_request *first; /* waiting reads, in no order */
	unsigned waiting;               /* their number */
	unsigned running;
	uint64_t permits; /* reads that may proceed; UINT64_MAX: not held */
	unsigned depth;
	unsigned in_flight; /* submitted requests whose complete has not returned */
	bool stop;
	pthread_t thread[THREADS_MAX];

	uint64_t calls[IO_FAULT_OPS];
	uint64_t bytes;
	uint64_t injected;
	unsigned in_flight_max;
	unsigned opens;
};

/* A caller of read, waiting for its request. */
struct waiter {
	struct folio_io_request request;
	struct io_fault *io;
	ssize_t result;
	bool finished; /* guarded by io->lock */
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void must(bool condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "io-fault: %s\n", what);
		abort();
	}
}

/* ---- contents ---- */

static uint64_t spread(uint64_t x)
{
	x ^= x >> 32;
	x *= SPREAD_1;
	x ^= x >> 32;
	x *= SPREAD_2;
	return x ^ x >> 32;
}

/*
 * The inverse of an odd number. Each step doubles the number of correct bits, which is 3 at first.
 */
static uint64_t inverse(uint64_t odd)
{
	uint64_t x = odd;
	unsigned i;

	for (i = 0; i < 5; i++)
		x *= 2 - odd * x;
	return x;
}

static uint64_t gather(uint64_t x)
{
	x ^= x >> 32;
	x *= inverse(SPREAD_2);
	x ^= x >> 32;
	x *= inverse(SPREAD_1);
	return x ^ x >> 32;
}

static uint64_t page_base(const struct io_fault_file *file, uint64_t generation, uint64_t page)
{
	return spread(file->id << 56 | generation << 32 | (page & UINT32_MAX)) +
	       (page >> 32) * UPPER;
}

/* One word of a page. */
static uint64_t page_word(uint64_t base, uint64_t word_index)
{
	return base + word_index * STEP;
}

uint64_t io_fault_word(const struct io_fault_file *file, uint64_t generation, uint64_t offset)
{
	uint64_t base = page_base(file, generation, offset / FOLIO_PAGE_SIZE);

	return page_word(base, offset % FOLIO_PAGE_SIZE / 8);
}

/* Writes the bytes @begin to @end (offsets in the page) of a page to @to. */
static void generate(uint64_t base, size_t begin, size_t end, unsigned char *to)
{
	uint64_t word;
	size_t skip, part;

	for (; begin < end; begin += part, to += part) {
		word = page_word(base, begin / 8);
		skip = begin % 8;
		part = 8 - skip < end - begin ? 8 - skip : end - begin;
		memcpy(to, (char *)&word + skip, part);
	}
}

/* Finds the generation of a part of a page by its first complete word; 0: none. */
static uint64_t find_generation(const struct io_fault_file *file, uint64_t page, unsigned begin,
	unsigned end, const unsigned char *data)
{
	unsigned word_index = (begin + 7) / 8;
	uint64_t word, name;

	if (word_index * 8 + 8 > end)
		return 0;
	memcpy(&word, data + (word_index * 8 - begin), 8);
	name = gather(word - word_index * STEP - (page >> 32) * UPPER);
	if (name >> 56 != file->id || (name & UINT32_MAX) != (page & UINT32_MAX))
		return 0;
	return name >> 32 & GENERATION_MAX;
}

static bool matches(const struct io_fault_file *file, uint64_t generation, uint64_t page,
	unsigned begin, unsigned end, const unsigned char *data)
{
	unsigned char right[FOLIO_PAGE_SIZE];

	generate(page_base(file, generation, page), begin, end, right);
	return memcmp(right, data, end - begin) == 0;
}

bool io_fault_check(struct io_fault_file *file, uint64_t offset, const void *data, size_t len,
	uint64_t *oldest, uint64_t *newest)
{
	uint64_t now = io_fault_generation(file), generation, min = UINT64_MAX, max = 0;
	const unsigned char *part = data;
	unsigned begin, end;
	bool right = true;

	while (len && right) {
		begin = offset % FOLIO_PAGE_SIZE;
		end = len < FOLIO_PAGE_SIZE - begin ? begin + (unsigned)len : FOLIO_PAGE_SIZE;
		generation = find_generation(file, offset / FOLIO_PAGE_SIZE, begin, end, part);
		if (!generation && end - begin < 15) {
			/* The part has no complete word to identify it. */
			generation = now;
			while (generation > 1 &&
				!matches(file, generation, offset / FOLIO_PAGE_SIZE, begin, end,
					part))
				generation--;
		}
		right = generation >= 1 && generation <= now &&
			matches(file, generation, offset / FOLIO_PAGE_SIZE, begin, end, part);
		if (generation < min)
			min = generation;
		if (generation > max)
			max = generation;
		part += end - begin;
		offset += end - begin;
		len -= end - begin;
	}
	if (oldest)
		*oldest = min;
	if (newest)
		*newest = max;
	return right;
}

/* ---- files ---- */

/* A new file of a name that exists is on the same device. Others are on each device in turn. */
static void place_locked(struct io_fault_file *file, const struct io_fault_file *replaced)
{
	uint64_t device = replaced ? replaced->fake.device : 1 + (file->id - 1) % DEVICES;

	file->fake = (struct fake_file){
		.device = device, .inode = ++file->io->inodes[device - 1], .changes = 1};
}

static struct io_fault_file *add(
	struct io_fault *io, const char *path, const void *bytes, uint64_t size)
{
	struct io_fault_file *file = calloc(1, sizeof(*file)), *replaced = NULL;
	unsigned i;

	must(file && size <= SIZE_MAX_BYTES, "no memory, or a file too large");
	file->io = io;
	file->bytes = bytes;
	file->capacity = size;
	file->size = file->end = size;
	file->generation = 1;
	file->path = strdup(path);
	must(file->path, "no memory");

	pthread_mutex_lock(&io->lock);
	must(io->files < FILES_MAX, "too many files");
	for (i = 0; i < io->files; i++) {
		if (io->file[i]->path && strcmp(io->file[i]->path, path) == 0) {
			replaced = io->file[i];
			free(replaced->path);
			replaced->path = NULL;
		}
	}
	io->file[io->files++] = file;
	file->id = io->files;
	place_locked(file, replaced);
	pthread_mutex_unlock(&io->lock);
	return file;
}

struct io_fault_file *io_fault_add(struct io_fault *io, const char *path, uint64_t size)
{
	return add(io, path, NULL, size);
}

struct io_fault_file *io_fault_add_bytes(
	struct io_fault *io, const char *path, const void *bytes, uint64_t size)
{
	return add(io, path, bytes, size);
}

void io_fault_resize(struct io_fault_file *file, uint64_t size)
{
	must(size <= SIZE_MAX_BYTES && (!file->bytes || size <= file->capacity),
		"a size too large");
	pthread_mutex_lock(&file->io->lock);
	file->size = size;
	if (size > file->end)
		file->end = size;
	file->fake.changes++;
	pthread_mutex_unlock(&file->io->lock);
}

void io_fault_set_end(struct io_fault_file *file, uint64_t end)
{
	pthread_mutex_lock(&file->io->lock);
	file->end = end;
	pthread_mutex_unlock(&file->io->lock);
}

int io_fault_fd(const struct io_fault_file *file)
{
	return FD_FIRST + (int)file->id;
}

uint64_t io_fault_change(struct io_fault_file *file)
{
	uint64_t generation;

	pthread_mutex_lock(&file->io->lock);
	must(file->generation < GENERATION_MAX, "too many generations");
	generation = ++file->generation;
	file->fake.changes++;
	pthread_mutex_unlock(&file->io->lock);
	return generation;
}

uint64_t io_fault_generation(struct io_fault_file *file)
{
	uint64_t generation;

	pthread_mutex_lock(&file->io->lock);
	generation = file->generation;
	pthread_mutex_unlock(&file->io->lock);
	return generation;
}

/* ---- failures ---- */

static bool due_locked(struct order *order)
{
	return order->nth && --order->nth == 0;
}

/* Counts a call. Returns the errno with which it must fail, or 0. */
static int call_locked(struct io_fault *io, enum io_fault_op op)
{
	int error = 0;

	io->calls[op]++;
	if (due_locked(&io->fail[op]))
		error = (int)io->fail[op].value;
	else if (io->rate[op] && next_random(&io->random) % 65536 < io->rate[op])
		error = io->rate_error[op];
	if (error)
		io->injected++;
	return error;
}

void io_fault_fail(struct io_fault *io, enum io_fault_op op, uint64_t nth, int error)
{
	pthread_mutex_lock(&io->lock);
	io->fail[op] = (struct order){.nth = nth, .value = (uint64_t)error};
	pthread_mutex_unlock(&io->lock);
}

void io_fault_shorten(struct io_fault *io, uint64_t nth, uint64_t bytes)
{
	pthread_mutex_lock(&io->lock);
	io->shorten = (struct order){.nth = nth, .value = bytes};
	pthread_mutex_unlock(&io->lock);
}

void io_fault_fail_randomly(struct io_fault *io, enum io_fault_op op, unsigned rate, int error)
{
	pthread_mutex_lock(&io->lock);
	io->rate[op] = rate;
	io->rate_error[op] = error;
	pthread_mutex_unlock(&io->lock);
}

void io_fault_fail_range(struct io_fault_file *file, uint64_t offset, uint64_t len, int error)
{
	pthread_mutex_lock(&file->io->lock);
	file->fail_offset = offset;
	file->fail_len = len;
	file->fail_error = error;
	pthread_mutex_unlock(&file->io->lock);
}

/* ---- reads ---- */

static size_t length(const struct folio_io_request *request)
{
	size_t bytes = 0;
	unsigned i;

	for (i = 0; i < request->iov_count; i++)
		bytes += request->iov[i].iov_len;
	return bytes;
}

/* Ends the test if a cache must not make this read: see io-fault.h. */
static void check_locked(struct io_fault *io, const struct folio_io_request *request)
{
	const struct handle *handle = request->handle;
	const struct folio_io_request *other;
	uint64_t pages =
		handle->file->end / FOLIO_PAGE_SIZE + (handle->file->end % FOLIO_PAGE_SIZE != 0);

	must(!handle->probe, "a read through a probe");
	for (other = io->first; other; other = other->next)
		must(other != request, "a request is submitted twice");
	must((request->offset + length(request)) / FOLIO_PAGE_SIZE <= pages,
		"a read past the end of the file");
}

/*
 * Both are decided when a request arrives, through read or submit. cookie[0]: the errno with which
 * it fails. cookie[1]: the number of bytes after which it ends.
 */
static void arrive_locked(struct io_fault *io, struct folio_io_request *request)
{
	check_locked(io, request);
	request->cookie[0] = (uint64_t)call_locked(io, IO_FAULT_READ);
	request->cookie[1] = UINT64_MAX;
	if (due_locked(&io->shorten)) {
		request->cookie[1] = io->shorten.value;
		io->injected++;
	}
	io->bytes += length(request);
}

/* Without the lock. The contents are those of one moment during the read. */
static ssize_t perform(struct io_fault *io, struct folio_io_request *request)
{
	struct io_fault_file *file = ((struct handle *)request->handle)->file;
	uint64_t size, generation, end, wanted = length(request), offset = request->offset;
	int error = (int)request->cookie[0];
	size_t begin, part, skip, valid;
	unsigned char *to;
	unsigned i;

	pthread_mutex_lock(&io->lock);
	size = file->size;
	generation = file->generation;
	if (!error && file->fail_error && offset < file->fail_offset + file->fail_len &&
		offset + wanted > file->fail_offset) {
		error = file->fail_error;
		io->injected++;
	}
	pthread_mutex_unlock(&io->lock);

	end = offset + (wanted < request->cookie[1] ? wanted : request->cookie[1]);
	if (end > size)
		end = size;
	if (end < offset || error)
		end = offset;
	for (i = 0; i < request->iov_count; offset += request->iov[i].iov_len, i++) {
		to = request->iov[i].iov_base;
		valid = 0;
		if (offset < end)
			valid = end - offset < request->iov[i].iov_len ? end - offset
								       : request->iov[i].iov_len;
		for (skip = 0; skip < valid; skip += part) {
			begin = (offset + skip) % FOLIO_PAGE_SIZE;
			part = FOLIO_PAGE_SIZE - begin < valid - skip ? FOLIO_PAGE_SIZE - begin
								      : valid - skip;
			if (file->bytes)
				memcpy(to + skip, file->bytes + offset + skip, part);
			else
				generate(page_base(file, generation,
						 (offset + skip) / FOLIO_PAGE_SIZE),
					begin, begin + part, to + skip);
		}
		memset(to + valid, GARBAGE, request->iov[i].iov_len - valid);
	}
	return error ? -error : (ssize_t)(end - request->offset);
}

/* Picks any one of the waiting reads. */
static struct folio_io_request *pick_locked(struct io_fault *io)
{
	struct folio_io_request **link = &io->first, *request;
	uint64_t skip = next_random(&io->random) % io->waiting;

	while (skip--)
		link = &(*link)->next;
	request = *link;
	*link = request->next;
	io->waiting--;
	if (io->permits != UINT64_MAX)
		io->permits--;
	return request;
}

static void wake_waiter(struct folio_io_request *request, ssize_t result)
{
	struct waiter *waiter = (struct waiter *)request;
	struct io_fault *io = waiter->io;

	pthread_mutex_lock(&io->lock);
	waiter->result = result;
	waiter->finished = true;
	pthread_cond_broadcast(&io->event);
	pthread_mutex_unlock(&io->lock);
}

static void *run(void *arg)
{
	struct io_fault *io = arg;
	struct folio_io_request *request;
	bool submitted;

	pthread_mutex_lock(&io->lock);
	for (;;) {
		while (!(io->waiting && io->permits) && !io->stop)
			pthread_cond_wait(&io->work, &io->lock);
		if (io->stop)
			break;
		request = pick_locked(io);
		io->running++;
		pthread_mutex_unlock(&io->lock);

		submitted = request->complete != wake_waiter;
		request->complete(request, perform(io, request));

		pthread_mutex_lock(&io->lock);
		io->running--;
		if (submitted)
			io->in_flight--;
		pthread_cond_broadcast(&io->event);
	}
	pthread_mutex_unlock(&io->lock);
	return NULL;
}

static void enqueue_locked(struct io_fault *io, struct folio_io_request *request)
{
	request->next = io->first;
	io->first = request;
	io->waiting++;
	pthread_cond_signal(&io->work);
	pthread_cond_broadcast(&io->event);
}

static ssize_t fault_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	struct io_fault *io = context;
	struct waiter waiter = {
		.request = {.handle = handle,
			.offset = offset,
			.iov = iov,
			.iov_count = iov_count,
			.complete = wake_waiter},
		.io = io,
	};

	pthread_mutex_lock(&io->lock);
	arrive_locked(io, &waiter.request);
	if (!io->threads) {
		pthread_mutex_unlock(&io->lock);
		return perform(io, &waiter.request);
	}
	enqueue_locked(io, &waiter.request);
	while (!waiter.finished)
		pthread_cond_wait(&io->event, &io->lock);
	pthread_mutex_unlock(&io->lock);
	return waiter.result;
}

static void fault_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct io_fault *io = context;
	struct folio_io_request *request;
	unsigned i;

	for (i = 0; i < count; i++) {
		request = requests[i];
		pthread_mutex_lock(&io->lock);
		while (io->in_flight >= io->depth)
			pthread_cond_wait(&io->event, &io->lock);
		io->in_flight++;
		if (io->in_flight > io->in_flight_max)
			io->in_flight_max = io->in_flight;
		arrive_locked(io, request);
		if (io->threads)
			enqueue_locked(io, request);
		pthread_mutex_unlock(&io->lock);
		if (io->threads)
			continue;

		request->complete(request, perform(io, request));
		pthread_mutex_lock(&io->lock);
		io->in_flight--;
		pthread_cond_broadcast(&io->event);
		pthread_mutex_unlock(&io->lock);
	}
}

/* ---- order ---- */

void io_fault_hold(struct io_fault *io)
{
	must(io->threads > 0, "nothing can be held without threads");
	pthread_mutex_lock(&io->lock);
	io->permits = 0;
	pthread_mutex_unlock(&io->lock);
}

void io_fault_release(struct io_fault *io, uint64_t count)
{
	pthread_mutex_lock(&io->lock);
	if (count == UINT64_MAX)
		io->permits = UINT64_MAX;
	else if (io->permits != UINT64_MAX)
		io->permits += count;
	pthread_cond_broadcast(&io->work);
	pthread_mutex_unlock(&io->lock);
}

void io_fault_wait_held(struct io_fault *io, unsigned count)
{
	pthread_mutex_lock(&io->lock);
	while (io->waiting < count)
		pthread_cond_wait(&io->event, &io->lock);
	pthread_mutex_unlock(&io->lock);
}

void io_fault_wait_idle(struct io_fault *io)
{
	pthread_mutex_lock(&io->lock);
	while (io->waiting || io->running)
		pthread_cond_wait(&io->event, &io->lock);
	pthread_mutex_unlock(&io->lock);
}

/* ---- what happened ---- */

static uint64_t peek(struct io_fault *io, const uint64_t *value)
{
	uint64_t copy;

	pthread_mutex_lock(&io->lock);
	copy = *value;
	pthread_mutex_unlock(&io->lock);
	return copy;
}

static unsigned peek_unsigned(struct io_fault *io, const unsigned *value)
{
	unsigned copy;

	pthread_mutex_lock(&io->lock);
	copy = *value;
	pthread_mutex_unlock(&io->lock);
	return copy;
}

uint64_t io_fault_calls(struct io_fault *io, enum io_fault_op op)
{
	return peek(io, &io->calls[op]);
}

uint64_t io_fault_bytes(struct io_fault *io)
{
	return peek(io, &io->bytes);
}

uint64_t io_fault_injected(struct io_fault *io)
{
	return peek(io, &io->injected);
}

unsigned io_fault_in_flight_max(struct io_fault *io)
{
	return peek_unsigned(io, &io->in_flight_max);
}

unsigned io_fault_opens(struct io_fault *io)
{
	return peek_unsigned(io, &io->opens);
}

/* ---- the table ---- */

static struct handle *new_handle_locked(struct io_fault_file *file, unsigned io_flags)
{
	struct handle *handle = malloc(sizeof(*handle));

	must(handle, "no memory");
	*handle = (struct handle){.file = file, .probe = io_flags & FOLIO_IO_PROBE};
	file->io->opens++;
	return handle;
}

static int open_locked(
	struct io_fault *io, struct io_fault_file *file, unsigned io_flags, void **handle)
{
	int error = io_flags & FOLIO_IO_PROBE ? 0 : call_locked(io, IO_FAULT_OPEN);

	if (!error && !file)
		error = ENOENT;
	*handle = error ? NULL : new_handle_locked(file, io_flags);
	return -error;
}

static int fault_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	struct io_fault *io = context;
	struct io_fault_file *file = NULL;
	unsigned i;
	int r;

	pthread_mutex_lock(&io->lock);
	for (i = 0; i < io->files; i++)
		if (io->file[i]->path && strcmp(io->file[i]->path, path) == 0)
			file = io->file[i];
	r = open_locked(io, file, io_flags, handle);
	pthread_mutex_unlock(&io->lock);
	return r;
}

static int fault_open_fd(void *context, int fd, int flags, unsigned io_flags, void **handle)
{
	struct io_fault *io = context;
	unsigned id = (unsigned)(fd - FD_FIRST);
	int r;

	pthread_mutex_lock(&io->lock);
	r = id >= 1 && id <= io->files ? open_locked(io, io->file[id - 1], io_flags, handle)
				       : -EBADF;
	pthread_mutex_unlock(&io->lock);
	return r;
}

static void fault_close(void *context, void *handle)
{
	struct io_fault *io = context;

	pthread_mutex_lock(&io->lock);
	io->opens--;
	pthread_mutex_unlock(&io->lock);
	free(handle);
}

static int fault_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	const struct handle *opened = handle;
	struct io_fault *io = context;
	int error;

	pthread_mutex_lock(&io->lock);
	error = call_locked(io, IO_FAULT_GETATTR);
	if (!error)
		fake_attr(&opened->file->fake, opened->file->size, opened->probe, attr);
	pthread_mutex_unlock(&io->lock);
	return -error;
}

static void fault_destroy(void *context)
{
	struct io_fault *io = context;
	unsigned i;

	pthread_mutex_lock(&io->lock);
	/*
	 * A request may have completed before its complete has returned to the thread that called
	 * it.
	 */
	while (io->running)
		pthread_cond_wait(&io->event, &io->lock);
	must(!io->waiting && !io->opens, "destroyed while it is in use");
	io->stop = true;
	pthread_cond_broadcast(&io->work);
	pthread_mutex_unlock(&io->lock);
	for (i = 0; i < io->threads; i++)
		pthread_join(io->thread[i], NULL);
}

static int fault_create(void **context, unsigned depth)
{
	struct io_fault *io = *context;
	unsigned i;
	int error;

	pthread_mutex_lock(&io->lock);
	error = call_locked(io, IO_FAULT_CREATE);
	io->depth = depth;
	io->stop = false;
	pthread_mutex_unlock(&io->lock);
	for (i = 0; i < io->threads && !error; i++)
		must(pthread_create(&io->thread[i], NULL, run, io) == 0, "no thread");
	return -error;
}

struct io_fault *io_fault_new(uint64_t seed, unsigned threads)
{
	struct io_fault *io = calloc(1, sizeof(*io));

	must(io && threads <= THREADS_MAX, "no memory, or too many threads");
	io->threads = threads;
	io->random = spread(seed) | 1;
	io->permits = UINT64_MAX;
	pthread_mutex_init(&io->lock, NULL);
	pthread_cond_init(&io->work, NULL);
	pthread_cond_init(&io->event, NULL);
	return io;
}

void io_fault_free(struct io_fault *io)
{
	unsigned i;

	for (i = 0; i < io->files; i++) {
		free(io->file[i]->path);
		free(io->file[i]);
	}
	pthread_cond_destroy(&io->event);
	pthread_cond_destroy(&io->work);
	pthread_mutex_destroy(&io->lock);
	free(io);
}

const struct folio_io_ops io_fault_ops = {
	.size = sizeof(struct folio_io_ops),
	.name = "fault",
	.create = fault_create,
	.destroy = fault_destroy,
	.open = fault_open,
	.close = fault_close,
	.getattr = fault_getattr,
	.read = fault_read,
	.submit = fault_submit,
	.features = FOLIO_IO_CAN_PROBE,
	.open_fd = fault_open_fd,
};
