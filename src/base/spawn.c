/* SPDX-License-Identifier: BSD-2-Clause */
/* spawn.c - start a thread of the library. */
#include "base/spawn.h"

#include <errno.h>
#include <signal.h>

int spawn_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int error;

	/* The program's signal handlers run on the program's threads only. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!error)
		pthread_setname_np(*thread, name);
	/* EAGAIN: no memory for a thread, or a limit on threads. Both are reported as -ENOMEM. */
	return error == EAGAIN ? -ENOMEM : -error;
}
