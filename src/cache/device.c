/* SPDX-License-Identifier: BSD-2-Clause */
/* device.c - the devices that the open files of a cache are on. */
#include "cache/device.h"

#include <pthread.h>
#include <stdlib.h>

/* writeback->lock is held. NULL: no memory. */
static struct writeback_device *create(struct folio_cache *cache, uint64_t number)
{
	struct writeback *writeback = &cache->writeback;
	struct writeback_device *device = calloc(1, sizeof(*device));
	unsigned i;

	if (!device)
		return NULL;
	device->cache = cache;
	device->number = number;
	share_init(&device->share, &writeback->share);
	for (i = 0; i < DIRTY_LISTS; i++)
		device->list[i].last = &device->list[i].first;
	device->next = writeback->devices;
	device->link = &writeback->devices;
	if (device->next)
		device->next->link = &device->next;
	writeback->devices = device;
	return device;
}

struct writeback_device *device_get(struct folio_cache *cache, uint64_t number)
{
	struct writeback *writeback = &cache->writeback;
	struct writeback_device *device;

	pthread_mutex_lock(&writeback->lock);
	for (device = writeback->devices; device; device = device->next)
		if (device->number == number)
			break;
	if (!device)
		device = create(cache, number);
	if (device)
		device->inodes++;
	pthread_mutex_unlock(&writeback->lock);
	return device;
}

void device_put(struct writeback_device *device)
{
	struct folio_cache *cache = device->cache;
	bool last, in_pass;

	pthread_mutex_lock(&cache->writeback.lock);
	last = --device->inodes == 0;
	in_pass = last && device->begun != device->ended;
	if (last) {
		*device->link = device->next;
		if (device->next)
			device->next->link = device->link;
	}
	pthread_mutex_unlock(&cache->writeback.lock);
	if (last)
		free(device);
	/* The flusher, which ends a pass otherwise, no longer finds the device. */
	if (in_pass)
		progress_end(&cache->progress, false);
}
