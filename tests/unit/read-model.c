/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random calls on several files, compared with a model that knows which generations of each page a
 * read may return.
 */
#include "fault-world.h"

#define MODEL_FILES   3
#define MODEL_PAGES   400
#define MODEL_HANDLES 6
#define MODEL_PINS    12

struct model_file {
	char name[8];
	struct io_fault_file *contents;
	uint64_t base;               /* of the part of the file that the model knows */
	uint64_t size;               /* the present size of the file */
	uint64_t floor[MODEL_PAGES]; /* the oldest generation that a page may have, from base on */
	unsigned opens;
	bool unsettled; /* the size has changed, and a background read may be about to detect it */
};

struct model_handle {
	struct folio_file *file;
	struct model_file *of;
};

struct model_pin {
	struct folio *folio;
	uint64_t pages;
	void *page;
	char copy[FOLIO_PAGE_SIZE];
};

struct model {
	struct io_fault *io;
	struct folio_cache *cache;
	uint64_t pages, random;
	bool failing; /* reads may fail with EIO */
	struct model_file file[MODEL_FILES];
	struct model_handle handle[MODEL_HANDLES];
	struct model_pin pin[MODEL_PINS];
	unsigned pins;
	uint64_t pinned; /* pages */
};

/* From the beginning, around 4 GiB, around page 2^32, and up to the largest size of all. */
#define MODEL_BASES 4
static const uint64_t model_base[MODEL_BASES] = {0, (UINT64_C(1) << 32) - MODEL_PAGES / 2 * PAGE,
	(UINT64_C(1) << 44) - MODEL_PAGES / 2 * PAGE, (UINT64_C(1) << 63) - MODEL_PAGES *PAGE};

static void raise_floor(struct model_file *file, uint64_t first)
{
	uint64_t generation = io_fault_generation(file->contents);

	for (; first < MODEL_PAGES; first++)
		file->floor[first] = generation;
}

/*
 * The size that the cache knows. If a background read has detected it, the old pages are dropped
 * first.
 */
static uint64_t known_size(struct model *model, struct model_handle *handle)
{
	uint64_t known = folio_file_size(handle->file);

	if (handle->of->unsettled && known == handle->of->size) {
		io_fault_wait_idle(model->io);
		handle->of->unsettled = false;
	}
	return known;
}

/*
 * Notes whether a call has detected a new size. If so, pages were dropped: all of them, or those
 * from the old end on.
 */
static void note_size(struct model *model, struct model_handle *handle, uint64_t known)
{
	uint64_t now = folio_file_size(handle->file);

	/* If a background read has detected it, its thread may still be dropping pages. */
	if (now != known)
		io_fault_wait_idle(model->io);
	if (now < known)
		raise_floor(handle->of, 0);
	else if (now > known)
		raise_floor(handle->of, (known - handle->of->base) / PAGE);
}

static void check_bytes(struct model_file *file, uint64_t offset, const char *data, uint64_t len)
{
	while (len) {
		uint64_t part = PAGE - offset % PAGE, oldest = 0;

		if (part > len)
			part = len;
		assert_true(io_fault_check(file->contents, offset, data, part, &oldest, NULL));
		assert_true(oldest >= file->floor[(offset - file->base) / PAGE]);
		offset += part;
		data += part;
		len -= part;
	}
}

static uint64_t clip(uint64_t size, uint64_t offset, uint64_t len)
{
	return offset >= size ? 0 : size - offset < len ? size - offset : len;
}

/* Chooses the offset and the length of a read, at most @most bytes. */
static void model_place(struct model *model, const struct model_file *file, uint64_t known,
	uint64_t most, uint64_t *offset, size_t *len)
{
	uint64_t *random = &model->random;

	known -= file->base;
	*offset = random_below(random, MODEL_PAGES * PAGE);
	if (random_below(random, 8) == 0)
		*offset = (known > 100 ? known - 100 : 0) + random_below(random, 200);
	switch (random_below(random, 6)) {
	case 0:
		*len = random_below(random, most);
		break;
	case 1:
	case 2:
		*offset &= ~(PAGE - 1);
		*len = PAGE << random_below(random, 3);
		break;
	default:
		*len = random_below(random, 300);
	}
	*offset += file->base;
	if (*offset > INT64_MAX)
		*offset = INT64_MAX;
	/* No read may go further. */
	if (*len > INT64_MAX - *offset)
		*len = INT64_MAX - *offset;
}

/* A size of at least the base, and at most the largest one of all. */
static uint64_t model_size(struct model *model, const struct model_file *file)
{
	uint64_t size = file->base + random_below(&model->random, MODEL_PAGES * PAGE + 1);

	return size > INT64_MAX ? INT64_MAX : size;
}

/*
 * Checks a read that returned @n. @known is the size that the handle knew before the call, @size
 * that of the file.
 */
static void model_judge(struct model *model, struct model_handle *handle, const char *buf,
	size_t len, uint64_t offset, bool nowait, ssize_t n, uint64_t known, uint64_t size)
{
	uint64_t low, high;

	assert_int_equal(buf[len], 'x');
	if (n < 0) {
		if (!(n == -EIO && model->failing) && !(n == -EAGAIN && nowait))
			fail_msg("read: %zd", n);
		return;
	}
	/*
	 * Either by the size known at its begin, or by the one it detected. Past the latter, pages
	 * may be stale.
	 */
	low = clip(known < size ? known : size, offset, len);
	high = clip(known > size ? known : size, offset, len);
	if (known < size && offset >= known)
		low = high;
	assert_true((uint64_t)n <= high);
	if ((uint64_t)n < low)
		assert_true((nowait || model->failing) && (offset + (uint64_t)n) % PAGE == 0);
	check_bytes(handle->of, offset, buf, (uint64_t)n);
}

static void model_read(struct model *model, struct model_handle *handle)
{
	static char buf[120 * FOLIO_PAGE_SIZE + 8];
	uint64_t known = known_size(model, handle), size = handle->of->size, offset, now;
	bool nowait = random_below(&model->random, 6) == 0;
	size_t len;
	ssize_t n;

	model_place(model, handle->of, known, 120 * PAGE, &offset, &len);
	buf[len] = 'x';
	n = nowait ? folio_file_read_nowait(handle->file, buf, len, offset)
		   : folio_file_read(handle->file, buf, len, offset);
	now = folio_file_size(handle->file);
	assert_true(now == known || now == size);
	model_judge(model, handle, buf, len, offset, nowait, n, known, size);
	/* From here on: before the read detected the size, it may have returned cached pages. */
	note_size(model, handle, known);
}

#define MODEL_BATCH 80

static void model_batch(struct model *model, struct model_handle *handle)
{
	static char buf[MODEL_BATCH][6 * FOLIO_PAGE_SIZE + 8];
	uint64_t known = known_size(model, handle), size = handle->of->size, now;
	struct folio_read reads[MODEL_BATCH];
	unsigned i, count = (unsigned)random_below(&model->random, MODEL_BATCH);
	bool nowait = random_below(&model->random, 6) == 0;

	for (i = 0; i < count; i++) {
		reads[i].buf = buf[i];
		model_place(model, handle->of, known, 6 * PAGE, &reads[i].offset, &reads[i].len);
		buf[i][reads[i].len] = 'x';
	}
	assert_int_equal(
		folio_file_read_batch(handle->file, reads, count, nowait ? FOLIO_READ_NOWAIT : 0),
		0);
	now = folio_file_size(handle->file);
	assert_true(now == known || now == size);
	for (i = 0; i < count; i++)
		model_judge(model, handle, buf[i], reads[i].len, reads[i].offset, nowait,
			reads[i].result, known, size);
	note_size(model, handle, known);
}

static void model_get(struct model *model, struct model_handle *handle)
{
	uint64_t known = known_size(model, handle), size = handle->of->size, end, i;
	uint64_t index = handle->of->base / PAGE + random_below(&model->random, MODEL_PAGES);
	bool nowait = random_below(&model->random, 4) == 0;
	struct folio *folio = NULL;
	char *page = NULL;
	int r;

	r = folio_file_get_page(
		handle->file, index, nowait ? FOLIO_GET_NOWAIT : 0, &folio, (void **)&page);
	if (r) {
		note_size(model, handle, known);
		assert_null(folio);
		if (r == -ENODATA)
			assert_true(index * PAGE >= known || index * PAGE >= size);
		else
			assert_true((r == -EIO && model->failing) || (r == -EAGAIN && nowait));
		return;
	}
	assert_true(index * PAGE < known || index * PAGE < size);
	assert_ptr_equal(page, folio_page(folio, index));
	assert_true(folio_index(folio) <= index);
	assert_true(index < folio_index(folio) + (UINT64_C(1) << folio_order(folio)));
	end = clip(known < size ? known : size, index * PAGE, PAGE);
	check_bytes(handle->of, index * PAGE, page, end);
	/* Past the end, by either size, are zeros or earlier contents. */
	for (i = end; i < PAGE && !page[i]; i++)
		;
	if (i < PAGE)
		end = clip(known > size ? known : size, index * PAGE, PAGE);
	check_bytes(handle->of, index * PAGE, page, end);
	note_size(model, handle, known);
	if (model->pins < MODEL_PINS &&
		model->pinned + (UINT64_C(1) << folio_order(folio)) <= model->pages / 4) {
		struct model_pin *pin = &model->pin[model->pins++];

		pin->folio = folio;
		pin->pages = UINT64_C(1) << folio_order(folio);
		pin->page = page;
		memcpy(pin->copy, page, PAGE);
		model->pinned += pin->pages;
	} else {
		folio_put(folio);
	}
}

static void model_put(struct model *model)
{
	struct model_pin *pin;

	if (!model->pins)
		return;
	pin = &model->pin[random_below(&model->random, model->pins)];
	assert_memory_equal(pin->page, pin->copy, PAGE);
	model->pinned -= pin->pages;
	folio_put(pin->folio);
	*pin = model->pin[--model->pins];
}

static void model_open(struct model *model, struct model_handle *handle)
{
	handle->of = &model->file[random_below(&model->random, MODEL_FILES)];
	if (random_below(&model->random, 2))
		handle->file = file_open(model->cache, handle->of->name);
	else
		assert_int_equal(folio_file_open_fd(model->cache, io_fault_fd(handle->of->contents),
					 O_RDONLY, &handle->file),
			0);
	handle->of->opens++;
	assert_int_equal(folio_file_size(handle->file), handle->of->size);
	raise_floor(handle->of, 0);
}

static void model_close(struct model_handle *handle)
{
	assert_int_equal(folio_file_close(handle->file), 0);
	handle->of->opens--;
	handle->file = NULL;
}

static void model_step(struct model *model)
{
	struct model_handle *handle = &model->handle[random_below(&model->random, MODEL_HANDLES)];
	uint64_t *random = &model->random, known, offset, len, first;
	struct folio_range range[3];
	struct model_file *file;
	unsigned i;
	int r;

	if (!handle->file) {
		model_open(model, handle);
		return;
	}
	file = handle->of;
	/* No read of this step goes past both the known and the present end. */
	known = folio_file_size(handle->file);
	io_fault_set_end(file->contents, known > file->size ? known : file->size);
	switch (random_below(random, 64)) {
	default:
		model_read(model, handle);
		break;
	case 0 ... 9:
		model_get(model, handle);
		break;
	case 10 ... 17:
		model_put(model);
		break;
	case 18 ... 20:
		for (i = 0; i < 3; i++)
			range[i] = (struct folio_range){
				.offset = file->base + random_below(random, MODEL_PAGES * PAGE),
				.len = random_below(random, 20 * PAGE)};
		known = known_size(model, handle);
		assert_true(folio_file_prefetch(handle->file, range, 3) >= 0);
		note_size(model, handle, known);
		break;
	case 21:
		assert_int_equal(
			folio_file_advise(handle->file, (enum folio_advice)random_below(random, 4)),
			0);
		break;
	case 22 ... 23:
		offset = random_below(random, MODEL_PAGES * PAGE);
		len = random_below(random, 3) ? random_below(random, 50 * PAGE) : UINT64_MAX;
		assert_int_equal(folio_file_invalidate(handle->file, file->base + offset, len), 0);
		if (!len)
			break;
		for (first = offset / PAGE;
			first < MODEL_PAGES && (len == UINT64_MAX || first * PAGE < offset + len);
			first++)
			file->floor[first] = io_fault_generation(file->contents);
		break;
	case 24:
		r = folio_file_revalidate(handle->file);
		assert_true(r == 0 || r == 1);
		assert_int_equal(folio_file_size(handle->file), file->size);
		raise_floor(file, 0);
		break;
	case 25:
		file->size = model_size(model, file);
		if (random_below(random, 2))
			file->size &= ~(PAGE - 1);
		io_fault_resize(file->contents, file->size);
		file->unsettled = true;
		/*
		 * Background reads may hold the size before, which is neither the known one nor
		 * that of the file.
		 */
		io_fault_wait_idle(model->io);
		break;
	case 26:
		io_fault_change(file->contents);
		break;
	case 27 ... 28:
		model_close(handle);
		break;
	case 31 ... 32:
		model_batch(model, handle);
		break;
	case 29:
		model->failing = random_below(random, 4) == 0;
		io_fault_fail_randomly(model->io, IO_FAULT_READ, model->failing ? 20000 : 0, EIO);
		/* When failures end, those in flight have happened. */
		io_fault_wait_idle(model->io);
		break;
	case 30:
		assert_true(cache_stats(model->cache).pages_free <= model->pages);
		break;
	}
}

static void model_run(
	uint64_t seed, uint64_t pages, uint32_t flags, unsigned io_threads, unsigned steps)
{
	struct model *model = calloc(1, sizeof(*model));
	struct folio_cache_stats stats;
	unsigned i;

	assert_non_null(model);
	model->random = seed;
	model->pages = pages;
	model->io = io_fault_new(seed, io_threads);
	model->cache = cache_open(pages, flags, model->io);
	for (i = 0; i < MODEL_FILES; i++) {
		struct model_file *file = &model->file[i];

		snprintf(file->name, sizeof(file->name), "f%u", i);
		file->base = model_base[(seed + i) % MODEL_BASES];
		file->size = model_size(model, file);
		file->contents = io_fault_add(model->io, file->name, file->size);
	}
	while (steps-- > 0)
		model_step(model);
	while (model->pins)
		model_put(model);
	for (i = 0; i < MODEL_HANDLES; i++)
		if (model->handle[i].file)
			model_close(&model->handle[i]);
	/* The evictor may hold some of the pages. */
	progress_drain(&model->cache->progress);
	stats = cache_stats(model->cache);
	assert_int_equal(stats.out_of_memory, 0);
	assert_int_equal(stats.pages_file, 0);
	assert_int_equal(folio_cache_close(model->cache), 0);
	assert_int_equal(io_fault_opens(model->io), 0);
	io_fault_free(model->io);
	free(model);
}

static void test_model_tiny(void **state)
{
	(void)state;
	model_run(test_seed, 64, 0, 2, scaled(20000));
	model_run(test_seed + 1, 64, FOLIO_CACHE_NO_READAHEAD, 3, scaled(10000));
	model_run(test_seed + 2, 65, 0, 0, scaled(20000));
}

static void test_model_medium(void **state)
{
	(void)state;
	model_run(test_seed + 3, 300, 0, 2, scaled(20000));
	model_run(test_seed + 4, 300, 0, 0, scaled(20000));
}

static void test_model_large(void **state)
{
	(void)state;
	model_run(test_seed + 5, 2048, 0, 3, scaled(20000));
	model_run(test_seed + 6, 2048, FOLIO_CACHE_NO_HUGE_PAGES, 0, scaled(20000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_tiny),
		cmocka_unit_test(test_model_medium),
		cmocka_unit_test(test_model_large),
	};

	test_begin("read-model");
	return cmocka_run_group_tests_name("read-model", tests, NULL, NULL);
}
