/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epoll-server.c - a server that reads blocks of a file for its clients, on one thread.
 *
 * A client sends the number of a block (8 bytes) and gets its 64 KiB. The thread waits for sockets
 * and for the queue in one epoll; it never waits for the device. The program is its own client: it
 * forks one that has 1,000 requests in flight over 250 connections, and checks every byte.
 *
 *	epoll-server FILE [REQUESTS]	the file is written first; 3,000 requests unless told
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <folio.h>

enum { BLOCK = 64 << 10, BLOCKS = 1024, CLIENTS = 250, EACH = 4, READS = CLIENTS * EACH };

/* A negative result is an errno value: report it with the call, and exit. */
#define CHECK(call)                          \
	do {                                 \
		long r_ = (call);            \
		if (r_ < 0) {                \
			errno = (int)-r_;    \
			err(1, "%s", #call); \
		}                            \
	} while (0)

static struct request {
	int socket;
	struct request *next; /* that is free, too */
	char block[BLOCK];
} requests[READS], *unused;
static struct folio_file *file;
static struct folio_queue *queue;
static unsigned cached, waiting, most;

/* A socket has space for the answers to all that its client may ask for: no send waits. */
static void answer(struct request *request, ssize_t result)
{
	CHECK(result);
	if (send(request->socket, request->block, BLOCK, MSG_DONTWAIT) != BLOCK)
		err(1, "send");
	request->next = unused;
	unused = request;
}

/* Begin what a client asks for. Returns false when it has left. */
static int serve(int socket)
{
	uint64_t number;
	ssize_t n;

	while ((n = recv(socket, &number, 8, MSG_DONTWAIT)) == 8) {
		struct request *request = unused;

		unused = request->next;
		request->socket = socket;
		n = folio_file_read_async(file, request->block, BLOCK, number % BLOCKS * BLOCK,
			queue, (uintptr_t)request);
		if (n != -EINPROGRESS) {
			cached++;
			answer(request, n);
		} else if (++waiting > most) {
			most = waiting;
		}
	}
	return n != 0;
}

static void client(const int *sockets, uint64_t count)
{
	static uint64_t block[BLOCK / 8];
	uint64_t sent = 0, got = 0, number;

	while (got < count) {
		uint64_t turn = count - got < READS ? count - got : READS;

		for (uint64_t i = 0; i < turn; i++) {
			number = sent++ * 7919 % BLOCKS;
			if (send(sockets[i % CLIENTS], &number, 8, 0) != 8)
				err(1, "send");
		}
		for (uint64_t i = 0; i < turn; i++, got++) {
			if (recv(sockets[i % CLIENTS], block, BLOCK, MSG_WAITALL) != BLOCK)
				err(1, "recv");
			for (int j = 0; j < BLOCK / 8; j++)
				if (block[j] != block[0] || block[j] >= BLOCKS)
					errx(1, "a block is wrong");
		}
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 16 << 20};
	struct folio_queue_params queue_params = {.size = sizeof(queue_params), .requests = READS};
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 3000, block[BLOCK / 8];
	int pair[2], far[CLIENTS], epoll = epoll_create1(0), left = CLIENTS, space = 1 << 20,
				   status;
	struct epoll_event event = {.events = EPOLLIN}, events[64];
	struct folio_queue_entry entries[64];
	struct folio_cache *cache;

	if (argc < 2)
		errx(2, "usage: epoll-server FILE [REQUESTS]");
	for (int i = 0; i < READS; unused = &requests[i++])
		requests[i].next = unused;
	for (int i = 0; i < CLIENTS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			err(1, "socketpair");
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &space, sizeof(space));
		far[i] = pair[1];
		event.data.fd = pair[0];
		epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event);
	}
	CHECK(folio_cache_open(&params, &cache));
	CHECK(folio_file_open(cache, argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644, &file));
	for (uint64_t i = 0; i < BLOCKS; i++) {
		for (int j = 0; j < BLOCK / 8; j++)
			block[j] = i;
		CHECK(folio_file_write(file, block, BLOCK, i * BLOCK));
	}
	CHECK(folio_queue_open(cache, &queue_params, &queue));
	event.data.fd = folio_queue_fd(queue);
	epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
	fflush(stdout);
	if (fork() == 0)
		client(far, count);
	for (int i = 0; i < CLIENTS; i++)
		close(far[i]);
	while (left > 0) {
		int n = epoll_wait(epoll, events, 64, -1), ended;

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == folio_queue_fd(queue))
				continue;
			if (!serve(events[i].data.fd)) {
				close(events[i].data.fd);
				left--;
			}
		}
		/* Returns at once, with what there is. */
		CHECK(ended = folio_queue_reap(queue, entries, 64, 0));
		waiting -= (unsigned)ended;
		for (int i = 0; i < ended; i++)
			answer((struct request *)(uintptr_t)entries[i].data, entries[i].result);
	}
	if (wait(&status) < 0 || status)
		errx(1, "the client has failed");
	printf("%llu reads, %u cached, %u in flight\n", (unsigned long long)count, cached, most);
	CHECK(folio_queue_close(queue));
	CHECK(folio_file_close(file));
	CHECK(folio_cache_close(cache));
	return 0;
}
