// SPDX-License-Identifier: GPL-2.0-only
/*
 * stress.c - readers of shared pages against everything that takes pages away from them.
 *
 * Each actor is one or several processes that repeat rounds until the time is over. Every byte read
 * is checked: five bits of a byte depend on its file and offset, three on its generation (1 .. 7).
 * So a reader that runs concurrently with a writer can tell any state of the right page from any
 * other page, byte by byte. 0 is right only where a file may have a hole. One file of each place
 * has no holes and is never shortened: a read of it that fails or comes back short is wrong, too. A
 * page that was freed under a reader has the kernel's poison, or another owner's data.
 *
 * Each actor counts its rounds and its useful rounds. An actor without a useful round is reported,
 * since it tested nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mman.h>

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define PAGE     4096u
#define HUGE     (2u << 20)
#define LENGTH   64u          /* of one read */
#define SWAP     (256u << 20) /* Much more than is used, so that entire huge pages fit. */
#define REPORTED 4            /* wrong reads that are printed, for each process */
#define FILES    5u           /* in a place, at most */
#define KEPT     0u           /* the file that is only rewritten, never shortened or punched */

/* Kinds of broken memory. */
enum kind { FREE, SOFT, MAPPED, MAPPED_HUGE, POOLED_HUGE, KINDS };

struct counts {
	uint64_t rounds;
	uint64_t useful;
	uint64_t wrong;
	uint64_t broke[KINDS];
};

struct worker {
	struct counts *counts;
	uint64_t random;
	int number; /* among the processes of this actor */
	unsigned int reported;
};

struct actor {
	const char *name;
	void (*setup)(
		struct worker *worker); /* in the process, before its first round; may be NULL */
	void (*round)(struct worker *worker);
	int processes;
};

/* A file system with files that some processes read while others change them. */
struct place {
	const char *name, *type, *options;
	unsigned int files, size;
	bool punch;
	int fds[FILES];
};

static struct place places[] = {
	{"ramfs", "ramfs", "", FILES, 16 * PAGE, false, {0}},
	{"tmpfs", "tmpfs", "", FILES, 16 * PAGE, true, {0}},
	{"huge", "tmpfs", "huge=always", 3, 2 * HUGE, true, {0}},
};

static bool *stop; /* shared by all processes */

static uint64_t draw(struct worker *worker, uint64_t below)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return worker->random % below;
}

static uint8_t tag(uint64_t key, uint64_t offset)
{
	return ((offset + 1) * UINT64_C(0x9e3779b97f4a7c15) + key * UINT64_C(0xd1b54a32d192ed03)) >>
		       56 &
	       0xf8;
}

static void fill(void *to, uint64_t key, uint64_t offset, size_t length, unsigned int generation)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)to)[i] = tag(key, offset + i) | (1 + generation % 7);
}

/* Returns whether all bytes are right. */
static bool check(struct worker *worker, const void *from, uint64_t key, uint64_t offset,
	size_t length, bool holes)
{
	const uint8_t *bytes = from;

	for (size_t i = 0; i < length; i++) {
		/* Read once: the memory may change concurrently. */
		uint8_t byte = *(volatile const uint8_t *)&bytes[i];

		if ((byte & 0xf8) == tag(key, offset + i) && (byte & 7))
			continue;
		if (!byte && holes)
			continue;
		worker->counts->wrong++;
		if (worker->reported++ < REPORTED)
			say("folio: wrong byte: key %llu offset %llu: 0x%02x, not 0x%02x",
				(unsigned long long)key, (unsigned long long)(offset + i), byte,
				tag(key, offset + i));
		return false;
	}
	return true;
}

static void *map(size_t length, int flags)
{
	void *memory = mmap(
		NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Anonymous memory that begins where a huge page can. */
static uint8_t *map_huge(size_t length)
{
	uint8_t *memory = map(length + HUGE, 0);

	if (!memory)
		return NULL;
	memory = (uint8_t *)(((uintptr_t)memory + HUGE - 1) & -(uintptr_t)HUGE);
	madvise(memory, length, MADV_HUGEPAGE);
	return memory;
}

static void doze(unsigned int milliseconds)
{
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

	nanosleep(&time, NULL);
}

static uint64_t key_of(const struct place *place, unsigned int file)
{
	return (place - places) * 16 + file + 1;
}

/* --- files: readers, and a writer that truncates, punches and rewrites ---------------------- */

/* Checks the result of a read of a file, which reports errors as read() does. */
static void judge(struct worker *worker, const struct place *place, unsigned int file, off_t offset,
	const void *data, ssize_t got)
{
	int error = errno;

	if (got < 0 || (file == KEPT && got != LENGTH)) {
		worker->counts->wrong++;
		if (worker->reported++ < REPORTED)
			say("folio: wrong read: %s/%u offset %llu: %zd, %s", place->name, file,
				(unsigned long long)offset, got,
				got < 0 ? strerror(error) : "too short");
	} else if (check(worker, data, key_of(place, file), offset, got, file != KEPT) && got) {
		worker->counts->useful++;
	}
}

static void read_place(struct worker *worker, struct place *place)
{
	for (int i = 0; i < 256; i++) {
		unsigned int file = draw(worker, place->files);
		off_t offset = draw(worker, place->size - LENGTH);
		char data[LENGTH];

		judge(worker, place, file, offset, data,
			pread(place->fds[file], data, LENGTH, offset));
	}
}

static void change_place(struct worker *worker, struct place *place)
{
	unsigned int file = draw(worker, place->files), size = place->size;
	unsigned int length = PAGE * (1 + draw(worker, 16)), generation = draw(worker, 7);
	off_t offset = draw(worker, size / PAGE) * PAGE;
	static uint8_t data[16 * PAGE];
	bool did;

	if (offset + length > size)
		length = size - offset;
	switch (file == KEPT ? 2 : draw(worker, 4)) {
	case 0:
		did = !ftruncate(place->fds[file], draw(worker, size));
		break;
	case 1:
		if (place->punch) {
			did = !fallocate(place->fds[file],
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
			break;
		}
		/* fall through */
	default:
		fill(data, key_of(place, file), offset, length, generation);
		did = pwrite(place->fds[file], data, length, offset) == length;
	}
	worker->counts->useful += did;
}

static void read_ramfs(struct worker *worker)
{
	read_place(worker, &places[0]);
}

static void read_tmpfs(struct worker *worker)
{
	read_place(worker, &places[1]);
}

static void read_huge(struct worker *worker)
{
	read_place(worker, &places[2]);
}

static void change_ramfs(struct worker *worker)
{
	change_place(worker, &places[0]);
}

static void change_tmpfs(struct worker *worker)
{
	change_place(worker, &places[1]);
}

static void change_huge(struct worker *worker)
{
	change_place(worker, &places[2]);
}

/* --- references through page tables: get_user_pages, slow and fast -------------------------- */

static uint8_t *mapped[3][FILES];

static void map_places(struct worker *worker)
{
	(void)worker;
	for (unsigned int i = 0; i < 3; i++) {
		for (unsigned int file = 0; file < places[i].files; file++)
			mapped[i][file] = mmap(NULL, places[i].size, PROT_READ, MAP_SHARED,
				places[i].fds[file], 0);
	}
}

/* Pins mapped pages during truncation: past the end this returns an error, not a signal. */
static void pin(struct worker *worker)
{
	unsigned int i = draw(worker, 3), file = draw(worker, places[i].files);
	off_t offset = draw(worker, places[i].size - LENGTH);
	char data[LENGTH];
	struct iovec to = {data, LENGTH}, from = {mapped[i][file] + offset, LENGTH};
	ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);

	if (got > 0 || file == KEPT)
		judge(worker, &places[i], file, offset, data, got);
}

/* A pipe holds references that get_user_pages_fast() took. */
static void splice_pages(struct worker *worker)
{
	unsigned int i = draw(worker, 3), file = draw(worker, places[i].files);
	off_t offset = draw(worker, places[i].size - LENGTH);
	struct iovec from = {mapped[i][file] + offset, LENGTH};
	static int ends[2] = {-1, -1};
	char data[LENGTH];
	ssize_t got;

	if (ends[0] < 0 && pipe2(ends, O_NONBLOCK) < 0)
		return;
	if (vmsplice(ends[1], &from, 1, SPLICE_F_NONBLOCK) <= 0)
		return;
	got = read(ends[0], data, LENGTH);
	if (got > 0 && check(worker, data, key_of(&places[i], file), offset, got, file != KEPT))
		worker->counts->useful++;
	/* The rest, if the range crosses the end of a page. */
	while (read(ends[0], data, LENGTH) > 0)
		;
}

/* --- anonymous memory that keeps its contents, whatever happens to its pages ---------------- */

static uint8_t *area;
static size_t area_size;
static uint64_t area_key;

static void fill_area(size_t size, uint64_t key, bool huge)
{
	area = huge ? map_huge(size) : map(size, 0);
	area_size = size;
	area_key = key;
	if (!area)
		_exit(1);
	fill(area, key, 0, size, 0);
}

static bool check_area(struct worker *worker)
{
	off_t offset = draw(worker, area_size / PAGE) * PAGE;

	return check(worker, area + offset, area_key, offset, PAGE, false);
}

static void write_area(struct worker *worker)
{
	off_t offset = draw(worker, area_size / PAGE) * PAGE;

	fill(area + offset, area_key, offset, PAGE, draw(worker, 7));
}

static void setup_migrate(struct worker *worker)
{
	fill_area(64 * PAGE, 100 + worker->number, false);
	map_places(worker);
}

static void migrate(struct worker *worker)
{
	void *pages[32];
	int nodes[32], status[32];
	bool moved = false;

	for (int i = 0; i < 32; i++) {
		nodes[i] = draw(worker, 2);
		if (i % 4) {
			pages[i] = area + draw(worker, area_size / PAGE) * PAGE;
		} else {
			unsigned int place = 1 + draw(worker, 2);
			unsigned int file = draw(worker, places[place].files);

			/* Only pages in this process's page tables move. */
			pages[i] = mapped[place][file] + draw(worker, 16) * PAGE;
			madvise(pages[i], PAGE, MADV_POPULATE_READ);
		}
		status[i] = -1;
	}
	syscall(SYS_move_pages, 0, 32ul, pages, nodes, status, 4 /* MPOL_MF_MOVE_ALL */);
	for (int i = 0; i < 32; i++)
		moved |= status[i] == nodes[i];
	write_area(worker);
	if (check_area(worker) && moved)
		worker->counts->useful++;
}

/* One of the kernel's event counters. */
static uint64_t events(const char *name)
{
	char line[128];
	uint64_t number = 0;
	size_t length = strlen(name);
	FILE *file = fopen("/proc/vmstat", "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, length) && line[length] == ' ')
			number = strtoull(line + length, NULL, 10);
	}
	if (file)
		fclose(file);
	return number;
}

static void setup_split(struct worker *worker)
{
	fill_area(2 * HUGE, 110 + worker->number, true);
}

/* Huge pages that cannot be swapped out stay in the swap cache. Once read, they can be split. */
static void enter_swap_cache(struct worker *worker)
{
	madvise(area, area_size, MADV_DONTNEED);
	fill(area, area_key, 0, area_size, draw(worker, 7));
	set("/sys/block/zram0/mem_limit", "4K");
	madvise(area, area_size, MADV_PAGEOUT);
	set("/sys/block/zram0/mem_limit", "0");
	for (size_t offset = 0; offset < area_size; offset += HUGE)
		check(worker, area + offset, area_key, offset, PAGE, false);
}

/* The debugfs file takes a speculative reference to every page, and splits the huge ones. */
static void split(struct worker *worker)
{
	if (!draw(worker, 4)) {
		uint64_t before = events("thp_split_page");

		if (draw(worker, 4))
			enter_swap_cache(worker);
		set("/sys/kernel/debug/split_huge_pages", "1");
		worker->counts->useful += events("thp_split_page") > before;
	}
	if (!draw(worker, 4)) {
		/* A new huge page if available, else small ones. */
		madvise(area, area_size, MADV_DONTNEED);
		fill(area, area_key, 0, area_size, draw(worker, 7));
	}
	if (draw(worker, 2))
		madvise(area + draw(worker, area_size / PAGE) * PAGE, PAGE, MADV_PAGEOUT);
	write_area(worker);
	check_area(worker);
	doze(5);
}

static void setup_swap(struct worker *worker)
{
	fill_area(512 * PAGE, 120 + worker->number, worker->number & 1);
}

static void swap(struct worker *worker)
{
	unsigned char resident[16];
	size_t offset = draw(worker, area_size / PAGE - 16) * PAGE;

	madvise(area + offset, 16 * PAGE, MADV_PAGEOUT);
	memset(resident, 1, sizeof(resident));
	mincore(area + offset, 16 * PAGE, resident);
	for (int i = 0; i < 16; i++) {
		if (!(resident[i] & 1)) {
			worker->counts->useful++;
			break;
		}
	}
	for (int i = 0; i < 4; i++)
		check_area(worker);
	write_area(worker);
}

static void setup_merge(struct worker *worker)
{
	fill_area(64 * PAGE, 130, false);
	/* Both processes have the same key, so their pages are equal. */
	(void)worker;
	madvise(area, area_size, MADV_MERGEABLE);
}

static void merge(struct worker *worker)
{
	char text[32] = "";
	int fd = open("/sys/kernel/mm/ksm/pages_sharing", O_RDONLY);

	if (read(fd, text, sizeof(text) - 1) > 0 && atoi(text) > 0)
		worker->counts->useful++;
	close(fd);
	for (int i = 0; i < 8; i++)
		check_area(worker);
	write_area(worker);
	doze(2);
}

/* --- other users of the allocator ------------------------------------------------------------ */

static void interrupted(int number)
{
	(void)number;
}

/* Operations that an unpatched 6.12 does not survive concurrently. */
enum lock {
	/*
	 * Huge pages of the pool are handed out, or one of them breaks. Without the lock some
	 * remain that are marked broken and in use; these kill their users and cannot be taken off
	 * line.
	 */
	POOL,
	/*
	 * A zone is compacted, or shrinks, or a broken page is repaired. Without the lock
	 * compaction marks a block that no longer belongs to the zone: "kernel BUG at
	 * mm/page_alloc.c", VM_BUG_ON_PAGE(!zone_spans_pfn) in set_pfnblock_flags_mask(). A repair
	 * frees the page to its zone, even if the page is not in it: VM_BUG_ON_PAGE(bad_range(zone,
	 * page)) in __free_one_page().
	 */
	ZONES,
	LOCKS
};

static void lock(enum lock which, int operation)
{
	static int fds[LOCKS] = {-1, -1};

	if (fds[which] < 0) {
		char path[16];

		snprintf(path, sizeof(path), "/lock-%d", which);
		fds[which] = open(path, O_RDWR | O_CREAT, 0600);
	}
	if (flock(fds[which], operation) < 0)
		say("folio: stress: flock: %s", strerror(errno));
}

static void use_pool(struct worker *worker)
{
	uint8_t *huge;

	set("/proc/sys/vm/nr_hugepages", "%d", (int)draw(worker, 9));
	huge = map(HUGE, MAP_HUGETLB);
	if (!huge) {
		doze(1);
		return;
	}
	for (unsigned int offset = 0; offset < HUGE; offset += 64 * PAGE)
		fill(huge + offset, 140, offset, LENGTH, 1);
	sched_yield();
	for (unsigned int offset = 0; offset < HUGE; offset += 64 * PAGE)
		check(worker, huge + offset, 140, offset, LENGTH, false);
	munmap(huge, HUGE);
	worker->counts->useful++;
}

static void hugetlb(struct worker *worker)
{
	lock(POOL, LOCK_EX);
	use_pool(worker);
	lock(POOL, LOCK_UN);
}

/* Memory that comes and goes, with contents that nothing else has, and processes that do. */
static void churn(struct worker *worker)
{
	size_t length = (1 + draw(worker, 64)) * PAGE;
	uint8_t *memory = map(length, 0);
	pid_t child;

	if (!memory)
		return;
	fill(memory, 150, 0, length, 2);
	child = draw(worker, 8) ? -1 : fork();
	if (!child) {
		fill(memory, 150, 0, PAGE, 3);
		check(worker, memory, 150, 0, length, false);
		_exit(0);
	}
	if (check(worker, memory, 150, 0, length, false))
		worker->counts->useful++;
	if (child > 0)
		waitpid(child, NULL, 0);
	munmap(memory, length);
}

/* Marks every page idle and checks again: a speculative reference for each page on an LRU list. */
static void idle(struct worker *worker)
{
	static uint64_t bits[512];
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	off_t offset = 0;

	memset(bits, 0xff, sizeof(bits));
	while (pwrite(fd, bits, sizeof(bits), offset) > 0) {
		uint64_t seen[512];

		/* A set bit is a page that was got twice, and not used in between. */
		if (pread(fd, seen, sizeof(seen), offset) == sizeof(seen)) {
			for (int i = 0; i < 512; i++)
				worker->counts->useful += __builtin_popcountll(seen[i]);
		}
		offset += sizeof(bits);
		if (__atomic_load_n(stop, __ATOMIC_RELAXED))
			break;
	}
	close(fd);
}

static void compact(struct worker *worker)
{
	uint64_t before;

	lock(ZONES, LOCK_EX);
	/* Pages that compaction isolated; pgmigrate_success also counts those of others. */
	before = events("compact_isolated");
	set("/proc/sys/vm/compact_memory", "1");
	worker->counts->useful += events("compact_isolated") > before;
	lock(ZONES, LOCK_UN);
	if (!draw(worker, 4))
		set("/proc/sys/vm/drop_caches", "3");
	doze(100);
}

static void setup_hotplug(struct worker *worker)
{
	struct sigaction action = {.sa_handler = interrupted};

	(void)worker;
	sigaction(SIGALRM, &action, NULL);
}

/* Takes blocks of memory off line, which moves their pages, and brings them back. */
static void hotplug(struct worker *worker)
{
	char path[64];
	bool did;

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%d/state",
		(int)draw(worker, 8));
	lock(ZONES, LOCK_EX);
	/* Without a signal the kernel retries for ever. */
	alarm(5);
	did = set(path, "offline");
	alarm(0);
	lock(ZONES, LOCK_UN);
	if (did) {
		doze(20);
		while (!set(path, "online_movable") && !set(path, "online") &&
			!__atomic_load_n(stop, __ATOMIC_RELAXED))
			doze(10);
		worker->counts->useful++;
	}
	doze(200);
}

/* --- broken memory --------------------------------------------------------------------------- */

/* The frame mapped at an address, 0 if none. */
static uint64_t frame_of(const void *address)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (pread(fd, &entry, 8, (uintptr_t)address / PAGE * 8) != 8 || !(entry >> 63))
		entry = 0;
	close(fd);
	return entry & ((UINT64_C(1) << 55) - 1);
}

static uint64_t flags_of(uint64_t frame)
{
	uint64_t flags = 0;
	int fd = open("/proc/kpageflags", O_RDONLY);

	if (pread(fd, &flags, 8, frame * 8) != 8)
		flags = 0;
	close(fd);
	return flags;
}

#define KPF_BUDDY    (UINT64_C(1) << 10)
#define KPF_MMAP     (UINT64_C(1) << 11)
#define KPF_HWPOISON (UINT64_C(1) << 19)

static void mend(uint64_t frame)
{
	for (int i = 0; i < 20 && flags_of(frame) & KPF_HWPOISON; i++) {
		set("/sys/kernel/debug/hwpoison/unpoison-pfn", "%llu", (unsigned long long)frame);
		if (i)
			doze(5);
	}
}

static void setup_poison(struct worker *worker)
{
	struct sigaction action = {.sa_handler = interrupted};

	(void)worker;
	/* The user of the broken page gets a signal, and must not ignore it. */
	sigaction(SIGBUS, &action, NULL);
}

/*
 * Breaks a frame if its flags, which the kernel checks again, are still as given: it may have got
 * another owner. If they are not, the kernel reports no error, so check the frame's flags
 * afterwards.
 */
static bool corrupt(uint64_t frame, uint64_t mask, uint64_t flags)
{
	set("/sys/kernel/debug/hwpoison/corrupt-filter-flags-mask", "%llu",
		(unsigned long long)mask);
	set("/sys/kernel/debug/hwpoison/corrupt-filter-flags-value", "%llu",
		(unsigned long long)flags);
	set("/sys/kernel/debug/hwpoison/corrupt-filter-enable", "1");
	set("/sys/kernel/debug/hwpoison/corrupt-pfn", "%llu", (unsigned long long)frame);
	set("/sys/kernel/debug/hwpoison/corrupt-filter-enable", "0");
	return flags_of(frame) & KPF_HWPOISON;
}

static bool break_free(struct worker *worker)
{
	uint64_t frame = draw(worker, 1u << 18);
	bool did = (flags_of(frame) & (KPF_BUDDY | KPF_HWPOISON)) == KPF_BUDDY &&
		   corrupt(frame, KPF_BUDDY, KPF_BUDDY);

	if (did)
		mend(frame);
	return did;
}

/*
 * Breaks a frame: one that is free, mapped, of a huge page in use or of one in the pool. Small ones
 * are repaired. Huge ones are not, since 6.12 unpoisons them while they are mapped; they are
 * dissolved, which loses 4 KiB each, so their number is limited.
 */
static bool break_frame(struct worker *worker, enum kind kind)
{
	size_t length = kind >= MAPPED_HUGE ? HUGE : PAGE;
	uint64_t frame;
	uint8_t *memory;
	bool did = false;

	if (kind == FREE)
		return break_free(worker);
	memory = map(length, kind >= MAPPED_HUGE ? MAP_HUGETLB | MAP_POPULATE : 0);
	if (!memory)
		return false;
	fill(memory, 160, 0, PAGE, 1);
	frame = frame_of(memory);
	if (kind == SOFT) {
		/* The data moves to another page, unchanged. */
		did = !madvise(memory, PAGE, MADV_SOFT_OFFLINE);
		check(worker, memory, 160, 0, PAGE, false);
	} else if (kind != POOLED_HUGE) {
		did = !madvise(memory, PAGE, MADV_HWPOISON);
	}
	munmap(memory, length);
	if (kind == POOLED_HUGE)
		did = frame && corrupt(frame, KPF_MMAP, 0);
	else if (kind != MAPPED_HUGE && frame)
		mend(frame);
	return did;
}

static void poison(struct worker *worker)
{
	static int huge_left = 64;
	enum kind kind = draw(worker, huge_left > 0 ? KINDS : MAPPED_HUGE);
	/* Frames that are not huge are repaired. */
	enum lock which = kind >= MAPPED_HUGE ? POOL : ZONES;

	doze(20);
	lock(which, LOCK_EX);
	huge_left -= kind >= MAPPED_HUGE;
	if (break_frame(worker, kind)) {
		worker->counts->useful++;
		worker->counts->broke[kind]++;
	}
	lock(which, LOCK_UN);
}

/* --- memory of a device: struct pages that are set up when it is added ----------------------- */

struct device_command {
	uint64_t address, pointer, pages, copied, faults;
};

static int device = -1;

static void setup_device(struct worker *worker)
{
	(void)worker;
	device = open("/dev/hmm_dmirror0", O_RDWR);
	fill_area(32 * PAGE, 170, false);
}

static void use_device(struct worker *worker)
{
	static uint8_t copy[32 * PAGE];
	struct device_command to_device = {(uintptr_t)area, (uintptr_t)copy, 32, 0, 0};

	if (!ioctl(device, _IOWR('H', 2, struct device_command), &to_device) && to_device.copied)
		worker->counts->useful++;
	/* Reading them brings the pages back. */
	for (int i = 0; i < 4; i++)
		check_area(worker);
	write_area(worker);
	doze(5);
}

/* --- all actors ------------------------------------------------------------------------------ */

static const struct actor actors[] = {
	{"read-ramfs", NULL, read_ramfs, 2},
	{"read-tmpfs", NULL, read_tmpfs, 1},
	{"read-huge", NULL, read_huge, 1},
	{"change-ramfs", NULL, change_ramfs, 1},
	{"change-tmpfs", NULL, change_tmpfs, 1},
	{"change-huge", NULL, change_huge, 1},
	{"pin", map_places, pin, 1},
	{"splice", map_places, splice_pages, 1},
	{"migrate", setup_migrate, migrate, 1},
	{"split", setup_split, split, 1},
	{"swap", setup_swap, swap, 2},
	{"ksm", setup_merge, merge, 2},
	{"hugetlb", NULL, hugetlb, 1},
	{"churn", NULL, churn, 1},
	{"page-idle", NULL, idle, 1},
	{"compact", NULL, compact, 1},
	{"hotplug", setup_hotplug, hotplug, 1},
	{"hwpoison", setup_poison, poison, 1},
	{"device", setup_device, use_device, 1},
};

#define ACTORS (sizeof(actors) / sizeof(actors[0]))

static void fill_kept(const struct place *place)
{
	static uint8_t data[16 * PAGE];

	for (unsigned int offset = 0; offset < place->size; offset += sizeof(data)) {
		fill(data, key_of(place, KEPT), offset, sizeof(data), 0);
		if (pwrite(place->fds[KEPT], data, sizeof(data), offset) != sizeof(data))
			say("folio: stress: cannot fill %s: %s", place->name, strerror(errno));
	}
}

static void prepare(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		struct place *place = &places[i];
		char path[64];

		snprintf(path, sizeof(path), "/%s", place->name);
		mkdir(path, 0755);
		if (mount(place->type, path, place->type, 0, place->options) < 0)
			say("folio: stress: cannot mount %s: %s", path, strerror(errno));
		for (unsigned int file = 0; file < place->files; file++) {
			snprintf(path, sizeof(path), "/%s/%u", place->name, file);
			place->fds[file] = open(path, O_RDWR | O_CREAT, 0600);
			if (place->fds[file] < 0 || ftruncate(place->fds[file], place->size) < 0)
				say("folio: stress: cannot create %s: %s", path, strerror(errno));
		}
		fill_kept(place);
	}
	if (!set("/sys/block/zram0/disksize", "%u", SWAP))
		say("folio: stress: no zram");
	/* The swap area's header, as mkswap writes it. */
	int fd = open("/dev/zram0", O_RDWR);
	uint32_t header[PAGE / 4] = {0};

	header[256] = 1;
	header[257] = SWAP / PAGE - 1;
	memcpy((char *)header + PAGE - 10, "SWAPSPACE2", 10);
	if (write(fd, header, PAGE) != PAGE || close(fd) < 0 || swapon("/dev/zram0", 0) < 0)
		say("folio: stress: no swap: %s", strerror(errno));
	set("/sys/kernel/mm/ksm/sleep_millisecs", "5");
	set("/sys/kernel/mm/ksm/pages_to_scan", "200");
	set("/sys/kernel/mm/ksm/run", "1");
	set("/sys/module/memory_hotplug/parameters/online_policy", "auto-movable");
}

static void work(const struct actor *actor, struct counts *counts, int number, uint64_t seed)
{
	struct worker worker = {counts, seed, number, 0};

	/*
	 * The same nice value as khugepaged. Otherwise khugepaged waits for a processor inside an
	 * RCU section, and everything that needs a grace period waits with it.
	 */
	if (nice(19) < 0)
		say("folio: stress: nice: %s", strerror(errno));
	if (actor->setup)
		actor->setup(&worker);
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		actor->round(&worker);
		counts->rounds++;
	}
	_exit(0);
}

static uint64_t total(const struct counts *counts, size_t n, size_t field)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += *(const uint64_t *)((const char *)&counts[i] + field);
	return sum;
}

static const char *name_of(const pid_t *pids, const size_t *first, pid_t pid)
{
	for (size_t i = 0; i < ACTORS; i++) {
		for (size_t process = first[i]; process < first[i + 1]; process++) {
			if (pids[process] == pid)
				return actors[i].name;
		}
	}
	return "unknown";
}

/* Prints the kernel stack of a process that does not end. */
static void show_stack(const char *name, pid_t pid)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stack", (int)pid);
	file = fopen(path, "r");
	say("folio: stuck: %s", name);
	while (file && fgets(line, sizeof(line), file))
		say("folio:   %.*s", (int)strcspn(line, "\n"), line);
	if (file)
		fclose(file);
}

/* The kernel's taint bits at this time: they include faults without a message. */
static void say_tainted(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/kernel/tainted", O_RDONLY);

	if (read(fd, text, sizeof(text) - 1) <= 0)
		say("folio: stress: tainted: %s", strerror(errno));
	close(fd);
	say("folio: tainted %d", atoi(text));
}

uint64_t stress(unsigned int seconds, uint64_t seed)
{
	static const char *const kinds[KINDS] = {
		"free", "soft", "mapped", "mapped-huge", "pooled-huge"};
	struct counts *counts =
		mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t first[ACTORS + 1], processes = 0;
	pid_t pids[64], child;
	int status;

	stop = (bool *)counts + 15 * PAGE;
	prepare();
	for (size_t i = 0; i < ACTORS; i++) {
		first[i] = processes;
		for (int number = 0; number < actors[i].processes; number++, processes++) {
			pids[processes] = fork();
			if (!pids[processes])
				work(&actors[i], &counts[processes], number,
					(seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^
						((processes + 1) << 32));
		}
	}
	first[ACTORS] = processes;
	for (unsigned int second = 1; second <= seconds; second++) {
		doze(1000);
		if (second % 10 == 0)
			say("folio: progress %u s: %llu rounds, %llu wrong", second,
				(unsigned long long)total(
					counts, processes, offsetof(struct counts, rounds)),
				(unsigned long long)total(
					counts, processes, offsetof(struct counts, wrong)));
	}
	__atomic_store_n(stop, true, __ATOMIC_RELAXED);
	for (int waited = 0, left = processes; left; waited++) {
		while ((child = waitpid(-1, &status, WNOHANG)) > 0) {
			left--;
			if (!WIFEXITED(status) || WEXITSTATUS(status))
				say("folio: died: %s, status 0x%x", name_of(pids, first, child),
					status);
		}
		/* A second is already long; show the processes that take longer. */
		for (size_t i = 0; waited == 200 && i < processes; i++) {
			if (!kill(pids[i], 0))
				show_stack(name_of(pids, first, pids[i]), pids[i]);
		}
		doze(100);
	}
	for (size_t i = 0; i < ACTORS; i++) {
		const struct counts *of = &counts[first[i]];
		size_t n = first[i + 1] - first[i];

		say("folio: actor %s %llu %llu %llu", actors[i].name,
			(unsigned long long)total(of, n, offsetof(struct counts, rounds)),
			(unsigned long long)total(of, n, offsetof(struct counts, useful)),
			(unsigned long long)total(of, n, offsetof(struct counts, wrong)));
	}
	for (size_t kind = 0; kind < KINDS; kind++)
		say("folio: broke %s %llu", kinds[kind],
			(unsigned long long)total(counts, processes,
				offsetof(struct counts, broke) + kind * sizeof(uint64_t)));
	say_tainted();
	return total(counts, processes, offsetof(struct counts, wrong));
}
