#define _GNU_SOURCE
#include "torture.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct slot slots[SLOTS];
atomic_ulong count_retired, count_polled, count_nulls;
atomic_uint limits;
static atomic_ulong serial;

#define MAGIC 0x71bau

void fail(int status, const char *format, ...)
{
	static atomic_bool failing;
	char line[400];
	va_list arguments;

	if (atomic_exchange(&failing, true))
		for (;;)
			pause(); /* one line is enough */
	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	line[length < (int)sizeof line - 1 ? length++ : length - 1] = '\n';
	if (write(STDERR_FILENO, line, (size_t)length) < 0)
		abort();
	_exit(status);
}

double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void null_explained(unsigned before, size_t size)
{
	atomic_fetch_add_explicit(&count_nulls, 1, memory_order_relaxed);
	if (before % 2 == 0 && atomic_load(&limits) == before)
		fail(LOSS, "torture: no memory for %zu bytes", size);
}

void *obtain(size_t size)
{
	for (;;) {
		unsigned before = atomic_load(&limits);
		void *object = qslab_malloc(size);
		if (object)
			return object;
		null_explained(before, size);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
}

void elements_init(void)
{
	static const size_t sizes[] = {16, 24, 32, 48, 64, 100, 128, 200, 256, 500, 1000, 2000, 4096, 9000, 20000, 70000,
	                               200000, 300000, 5 << 20};
	enum { SIZES = sizeof sizes / sizeof *sizes };
	unsigned s = 0;
	for (; s < SLOTS; s++) {
		/* few of the large ones: their content takes long to write */
		unsigned pick = s % 97 == 96 ? SIZES - 1 : s % 24 == 23 ? SIZES - 2 : s % (SIZES - 2);
		size_t size = sizes[pick];
		size_t last = size - sizeof(struct rcu_ptr);
		size_t places[] = {0, 8, last & ~(size_t)7, last / 2 & ~(size_t)7, SIZE_MAX, 4104};
		slots[s].size = size;
		slots[s].offset = places[s % 6];
		if (slots[s].offset != SIZE_MAX && slots[s].offset > last)
			slots[s].offset = 0;
		atomic_store(&slots[s].current, element_make(s));
	}
}

/* The word that says whose it is: the first that is not the link. */
static size_t stamp_word(unsigned slot)
{
	return slots[slot].offset < 8 ? 1 : 0;
}

static uint64_t word_of(uint64_t stamp, size_t word)
{
	return (stamp + word) * 0x9e3779b97f4a7c15u;
}

/* Which words are written and checked: all of small ones, every 61st and the last of large ones. */
static size_t step_of(size_t size)
{
	return size <= 9000 ? 1 : 61;
}

void *element_make(unsigned slot)
{
	size_t size = slots[slot].size, words = size / 8, mine = stamp_word(slot);
	uint64_t *element = obtain(size);
	uint64_t stamp = (uint64_t)MAGIC << 48 | (uint64_t)slot << 40 | (atomic_fetch_add(&serial, 1) & 0xffffffffff);

	for (size_t w = 0; w < words; w += step_of(size))
		element[w] = word_of(stamp, w);
	element[words - 1] = word_of(stamp, words - 1);
	element[mine] = stamp;
	return element;
}

static _Noreturn void early(const struct hold *hold, const char *who, size_t word, uint64_t want, uint64_t have)
{
	fail(EARLY, "torture: early reuse: %s: %zu-byte element %p, link at %zd: word %zu is %016lx, not %016lx; "
	     "held for %.1f ms", who, slots[hold->slot].size, hold->element,
	     (ssize_t)slots[hold->slot].offset, word, (unsigned long)have, (unsigned long)want,
	     (seconds() - hold->since) * 1e3);
}

struct hold element_hold(unsigned slot, const char *who)
{
	struct hold hold = {atomic_load(&slots[slot].current), slot, 0, seconds()};
	size_t mine = stamp_word(slot);
	hold.stamp = ((const uint64_t *)hold.element)[mine];
	if (hold.stamp >> 40 != ((uint64_t)MAGIC << 8 | slot))
		early(&hold, who, mine, (uint64_t)MAGIC << 48 | (uint64_t)slot << 40, hold.stamp);
	return hold;
}

void element_check(const struct hold *hold, const char *who)
{
	const uint64_t *element = hold->element;
	size_t size = slots[hold->slot].size, words = size / 8, mine = stamp_word(hold->slot);
	size_t link = slots[hold->slot].offset == SIZE_MAX ? SIZE_MAX : slots[hold->slot].offset / 8;
	for (size_t w = 0, next; w < words; w = next) {
		next = w + step_of(size);
		if (next >= words && w != words - 1)
			next = words - 1;
		if (w == link)
			continue;
		uint64_t want = w == mine ? hold->stamp : word_of(hold->stamp, w);
		uint64_t have = element[w];
		if (have != want)
			early(hold, who, w, want, have);
	}
}

/* As statistics count it: in the hardened mode, where an object has just the bytes asked for, its slot, or its pages. */
static size_t bytes_of(const void *object)
{
	enum { SEAL = 8, SLOT_MOST = 256 << 10 };
	static size_t of_one;
	size_t size = qslab_usable_size(object);

	if (!of_one) {
		void *one = qslab_malloc(1);
		of_one = qslab_usable_size(one);
		qslab_free(one);
	}
	if (of_one > 1 || !object)
		return size;
	return qslab_good_size(size) + (size <= SLOT_MOST - SEAL ? SEAL : 0);
}

static size_t sum_of(size_t (*size_of)(const void *object))
{
	size_t bytes = 0;
	for (unsigned s = 0; s < SLOTS; s++)
		bytes += size_of(slots[s].current) + size_of(slots[s].ammunition);
	return bytes;
}

size_t elements_bytes(void)
{
	return sum_of(bytes_of);
}

size_t elements_usable(void)
{
	return sum_of(qslab_usable_size);
}

void collector_init(struct collector *collector)
{
	memset(collector, 0, sizeof *collector);
	qslab_free_q_init(&collector->queue);
}

static void flush_many(struct collector *collector)
{
	unsigned done = 0;
	while (done < collector->count) {
		done += (unsigned)qslab_free_rcu_bulk(collector->count - done, collector->many + done);
		if (done < collector->count)
			qslab_free_rcu_mightsleep(collector->many[done++]);
	}
	collector->count = 0;
}

/* Frees those whose cookie is over at once; the rest too, after a wait, if `all`. */
static void free_waited(struct collector *collector, bool all)
{
	unsigned kept = 0;
	struct qslab_free_q queue;

	qslab_free_q_init(&queue);
	for (unsigned i = 0; i < collector->waiting; i++) {
		if (all)
			qslab_rcu_wait(collector->waited[i].cookie);
		if (!qslab_rcu_poll(collector->waited[i].cookie))
			collector->waited[kept++] = collector->waited[i];
		else if (collector->waited[i].link && i % 2)
			qslab_free_q_link(&queue, collector->waited[i].link);
		else
			qslab_free(collector->waited[i].object);
	}
	collector->waiting = kept;
	qslab_free_q_flush(&queue);
}

void collector_flush(struct collector *collector)
{
	qslab_free_q_flush_rcu(&collector->queue);
	flush_many(collector);
	free_waited(collector, true);
}

void retire_object(void *object, size_t offset, struct collector *collector, uint64_t *random, bool may_wait)
{
	struct rcu_ptr *link = offset == SIZE_MAX ? NULL : (struct rcu_ptr *)((char *)object + offset);
	unsigned call = (unsigned)(next_random(random) % 10);

	atomic_fetch_add_explicit(&count_retired, 1, memory_order_relaxed);
	if (!link && call < 4)
		call = 4 + call % 3;
	switch (call) {
	case 0:
		qslab_free_rcu_link(object, link);
		return;
	case 1:
		qslab_free_rcu_head(link);
		return;
	case 2:
		qslab_free_rcu_nolock_link(object, link);
		return;
	case 3:
		qslab_free_q_link(&collector->queue, link);
		if (next_random(random) % 32 == 0)
			qslab_free_q_flush_rcu(&collector->queue);
		return;
	case 4:
		if (qslab_free_rcu_try(object) == 0)
			return;
		break;
	case 5:
		if (collector->count == COLLECTED) {
			if (!may_wait)
				break;
			flush_many(collector);
		}
		collector->many[collector->count++] = object;
		return;
	case 6:
	case 7:
		atomic_fetch_add_explicit(&count_polled, 1, memory_order_relaxed);
		if (qslab_free_rcu_poll(call == 6 ? qslab_rcu_get() : qslab_rcu_start(), object) == 0)
			return;
		break;
	case 8:
		free_waited(collector, false);
		if (collector->waiting == WAITED)
			break;
		atomic_fetch_add_explicit(&count_polled, 1, memory_order_relaxed);
		collector->waited[collector->waiting].object = object;
		collector->waited[collector->waiting].link = link;
		collector->waited[collector->waiting++].cookie = qslab_rcu_start();
		return;
	}
	if (may_wait)
		qslab_free_rcu_mightsleep(object);
	else
		qslab_free_rcu_link(object, link); /* who reads replaces none without a link */
}

void element_replace(unsigned slot, struct collector *collector, uint64_t *random, bool may_wait)
{
	void *old = atomic_exchange(&slots[slot].current, element_make(slot));
	retire_object(old, slots[slot].offset, collector, random, may_wait);
	if (slots[slot].offset != SIZE_MAX && !atomic_load_explicit(&slots[slot].ammunition, memory_order_relaxed)) {
		void *none = NULL, *made = element_make(slot);
		if (!atomic_compare_exchange_strong(&slots[slot].ammunition, &none, made))
			qslab_free(made);
	}
}

void element_replace_in_handler(unsigned slot)
{
	if (slots[slot].offset == SIZE_MAX)
		return;
	void *made = atomic_exchange(&slots[slot].ammunition, NULL);
	if (!made)
		return;
	char *old = atomic_exchange(&slots[slot].current, made);
	qslab_free_rcu_nolock_link(old, (struct rcu_ptr *)(old + slots[slot].offset));
	atomic_fetch_add_explicit(&count_retired, 1, memory_order_relaxed);
}
