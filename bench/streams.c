/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * streams - measures many threads, each of which reads its own part of one file from start to end
 * through a cache much smaller than the file.
 *
 *   streams FILE [THREADS [CACHE_MIB [ROUNDS]]]      default: 64 32 9
 *
 * In each round each thread reads 4 MiB in pieces of 64 KiB: with pread and direct I/O, through a
 * cache without read-ahead, and through one with it, alternately; the next round continues where
 * this one has ended. Prints a table: medians of MiB per second and of the ratio within a round
 * with quartiles, and the bytes that the device delivered for each byte that was read.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <folio.h>

#include "measure.h"

#define PIECE       (64u << 10)
#define EACH        ((uint64_t)4 << 20) /* bytes that a thread reads in a round */
#define ROUNDS_MAX  1001
#define THREADS_MAX 1024

enum contender { DIRECT, WITHOUT, WITH, CONTENDERS };

static const char *const names[CONTENDERS] = {
	"pread, direct", "folio, no read-ahead", "folio, read-ahead"};

static int fd;
static uint64_t part; /* bytes of the file for each thread */
static unsigned threads;
static struct folio_cache *cache[CONTENDERS];
static struct folio_file *file[CONTENDERS][THREADS_MAX];

struct stream {
	pthread_t thread;
	unsigned number;
	enum contender contender;
	uint64_t offset[CONTENDERS]; /* in the part, of the next piece */
};

static struct stream stream[THREADS_MAX];
static double rate[CONTENDERS][ROUNDS_MAX], ratio[CONTENDERS][ROUNDS_MAX];
static double delivered[CONTENDERS][ROUNDS_MAX];

static void *read_stream(void *arg)
{
	struct stream *self = arg;
	enum contender contender = self->contender;
	uint64_t *offset = &self->offset[contender], end = *offset + EACH;
	char *buffer = aligned_alloc(FOLIO_PAGE_SIZE, PIECE);

	check(buffer ? 0 : -ENOMEM, "aligned_alloc");
	for (; *offset < end; *offset += PIECE) {
		uint64_t at = part * self->number + *offset % part;
		ssize_t n;

		n = contender == DIRECT
			    ? result((int)pread(fd, buffer, PIECE, (off_t)at))
			    : folio_file_read(file[contender][self->number], buffer, PIECE, at);
		check(n < 0 ? (int)n : n == PIECE ? 0 : -EIO, names[contender]);
	}
	free(buffer);
	return NULL;
}

static double device_bytes(enum contender contender)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	if (contender == DIRECT)
		return 0;
	check(folio_cache_stats(cache[contender], &stats), "folio_cache_stats");
	return (double)stats.fill_bytes;
}

static void measure(enum contender contender, unsigned round)
{
	double bytes = (double)EACH * threads, before = device_bytes(contender);
	double begin = nanoseconds(CLOCK_MONOTONIC);
	unsigned i;

	for (i = 0; i < threads; i++) {
		stream[i].number = i;
		stream[i].contender = contender;
		check(-pthread_create(&stream[i].thread, NULL, read_stream, &stream[i]),
			"pthread_create");
	}
	for (i = 0; i < threads; i++)
		pthread_join(stream[i].thread, NULL);
	rate[contender][round] = bytes / (1 << 20) * 1e9 / (nanoseconds(CLOCK_MONOTONIC) - begin);
	delivered[contender][round] =
		contender == DIRECT ? 1 : (device_bytes(contender) - before) / bytes;
}

static void open_contender(enum contender contender, const char *path, uint64_t bytes)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = bytes,
		.flags = contender == WITHOUT ? FOLIO_CACHE_NO_READAHEAD : 0,
	};
	unsigned i;

	check(folio_cache_open(&params, &cache[contender]), "folio_cache_open");
	for (i = 0; i < threads; i++)
		check(folio_file_open(cache[contender], path, O_RDONLY, 0, &file[contender][i]),
			path);
}

static void close_contender(enum contender contender)
{
	unsigned i;

	for (i = 0; i < threads; i++)
		check(folio_file_close(file[contender][i]), "folio_file_close");
	check(folio_cache_close(cache[contender]), "folio_cache_close");
}

static void print_table(unsigned rounds)
{
	unsigned i;

	printf("| %u threads, 64 KiB each | MiB/s | x pread | quartiles | device bytes per byte |\n"
	       "|---|---|---|---|---|\n",
		threads);
	for (i = 0; i < CONTENDERS; i++) {
		sort(rate[i], rounds);
		sort(ratio[i], rounds);
		sort(delivered[i], rounds);
		printf("| %s | %.0f | %.2f | %.2f to %.2f | %.2f |\n", names[i],
			rate[i][rounds / 2], ratio[i][rounds / 2], ratio[i][rounds / 4],
			ratio[i][rounds * 3 / 4], delivered[i][rounds / 2]);
	}
}

int main(int argc, char **argv)
{
	uint64_t bytes = (uint64_t)(argc > 3 ? atoi(argv[3]) : 32) << 20;
	unsigned rounds = argc > 4 ? (unsigned)atoi(argv[4]) : 9, round, i;
	struct stat st;

	threads = argc > 2 ? (unsigned)atoi(argv[2]) : 64;
	if (argc < 2 || !threads || threads > THREADS_MAX || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: streams FILE [THREADS [CACHE_MIB [ROUNDS]]]\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	check(result(fd), argv[1]);
	check(result(fstat(fd, &st)), argv[1]);
	part = (uint64_t)st.st_size / threads / EACH * EACH;
	check(part ? 0 : -EFBIG, "the file has not 4 MiB for each thread");
	open_contender(WITHOUT, argv[1], bytes);
	open_contender(WITH, argv[1], bytes);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < CONTENDERS; i++)
			measure((i + round) % CONTENDERS, round);
		for (i = 0; i < CONTENDERS; i++)
			ratio[i][round] = rate[i][round] / rate[DIRECT][round];
	}
	print_table(rounds);
	close_contender(WITHOUT);
	close_contender(WITH);
	close(fd);
	return 0;
}
