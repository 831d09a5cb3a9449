#define _GNU_SOURCE
#include "torture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RING = 48, HELD_MOST = 16 };
#define THROTTLE ((SANITIZED ? (size_t)64 : (size_t)192) << 20)

atomic_bool stop;
bool brisk;
uint64_t seed;
_Thread_local bool reading;
atomic_ulong count_reads, count_replaced, count_flooded, count_threads, count_long;

void sleep_us(uint64_t microseconds, bool cut)
{
	for (double end = seconds() + (double)microseconds * 1e-6, left; (left = end - seconds()) > 0;) {
		if (cut && atomic_load_explicit(&stop, memory_order_relaxed))
			return;
		left = left > 0.05 ? 0.05 : left;
		nanosleep(&(struct timespec){0, (long)(left * 1e9)}, NULL);
	}
}

static uint64_t seed_of(void *number)
{
	return ((uintptr_t)number + 1) * 0x9e3779b97f4a7c15u ^ seed;
}

/* ---- plain malloc and free, by everybody: whoever gets memory that is still read writes over it ---- */

struct ring {
	void *objects[RING];
};

static void scribble(struct ring *ring, uint64_t *random, int count)
{
	for (int i = 0; i < count; i++) {
		uint64_t r = next_random(random);
		void **object = &ring->objects[r % RING];
		size_t size = slots[(r >> 16) % SLOTS].size;
		if (size > 100000 && (r >> 32) % 32)
			size = 64;
		qslab_free(*object);
		*object = qslab_malloc(size);
		if (*object)
			memset(*object, 0xd5, size);
	}
}

static void ring_empty(struct ring *ring)
{
	for (int i = 0; i < RING; i++)
		qslab_free(ring->objects[i]);
	memset(ring, 0, sizeof *ring);
}

/* ---- readers ---- */

/* How long to hold: mostly not at all, now and then longer than several intervals after which arrays are sealed. */
static uint64_t dwell(uint64_t *random, bool may_be_long)
{
	uint64_t r = next_random(random);
	unsigned pick = (unsigned)(r % 8192);
	r >>= 16;
	if (brisk)
		return pick < 4 ? r % 5000 : pick < 500 ? r % 300 : 0;
	if (pick == 0 && may_be_long)
		return 500000 + r % 3000000;
	if (pick < 200)
		return r % 30000;
	if (pick < 2000)
		return r % 1000;
	return 0;
}

static unsigned slot_to_replace(uint64_t *random)
{
	uint64_t r = next_random(random);
	unsigned slot = (unsigned)(r >> 8) % (r % 4 ? SLOTS : 12); /* some are replaced often */
	return slots[slot].size > 100000 && (r >> 40) % 16 ? slot % 12 : slot;
}

static void read_once(uint64_t *random, struct ring *ring, struct collector *collector, uint64_t microseconds)
{
	struct hold held[HELD_MOST];
	int count = 1 + (int)(next_random(random) % (next_random(random) % 16 ? 3 : HELD_MOST));

	flavor->read_lock();
	reading = true;
	for (int i = 0; i < count; i++) {
		uint64_t r = next_random(random);
		held[i] = element_hold((unsigned)(r >> 8) % (r % 4 ? SLOTS : 12), "reader");
	}
	if (microseconds > 100000)
		atomic_fetch_add(&count_long, 1);
	do {
		uint64_t piece = microseconds < 5000 ? microseconds : microseconds / 4 + 1000;
		scribble(ring, random, 2);
		if (next_random(random) % 8 == 0) { /* a reader may retire, even what it holds */
			unsigned slot = next_random(random) % 2 ? held[0].slot : slot_to_replace(random);
			if (slots[slot].offset != SIZE_MAX)
				element_replace(slot, collector, random, false);
		}
		for (int i = 0; i < count; i++)
			element_check(&held[i], "reader");
		if (piece)
			sleep_us(piece, true);
		microseconds -= piece < microseconds ? piece : microseconds;
	} while (microseconds && !atomic_load_explicit(&stop, memory_order_relaxed));
	for (int i = 0; i < count; i++)
		element_check(&held[i], "reader");
	reading = false;
	flavor->read_unlock();
	atomic_fetch_add_explicit(&count_reads, 1, memory_order_relaxed);
}

/* liburcu-qsbr's own function, past whoever stands in front of it; NULL with another flavor. */
static void (*own(const char *name))(void)
{
	void *library = flavor == &urcu_qsbr_flavor ? dlopen("liburcu-qsbr.so.8", RTLD_NOW | RTLD_NOLOAD) : NULL;
	return library ? (void (*)(void))dlsym(library, name) : NULL;
}

/* Most of the time as any program; now and then unseen, if there is a way past. */
static void enroll(bool unseen)
{
	void (*past)(void) = unseen ? own("urcu_qsbr_register_thread") : NULL;
	(past ? past : flavor->register_thread)();
}

static void resign(bool unseen)
{
	void (*past)(void) = unseen ? own("urcu_qsbr_unregister_thread") : NULL;
	flavor->thread_offline();
	(past ? past : flavor->unregister_thread)();
}

/* A grace period that is none of ours. */
static void synchronize(bool unseen)
{
	void (*past)(void) = unseen ? own("urcu_qsbr_synchronize_rcu") : NULL;
	(past ? past : flavor->update_synchronize_rcu)();
}

void *reader(void *number)
{
	uint64_t random = seed_of(number);
	struct ring ring = {{0}};
	struct collector collector;
	bool unseen = false;
	double next_long = seconds() + 1 + (double)(uintptr_t)number;

	collector_init(&collector);
	flavor->register_thread();
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t microseconds = dwell(&random, true);
		if ((uintptr_t)number == 0 && !brisk && seconds() > next_long) { /* at least this one */
			microseconds = 1500000 + next_random(&random) % 2000000;
			next_long = seconds() + 8;
		}
		read_once(&random, &ring, &collector, microseconds);
		uint64_t r = next_random(&random);
		if (r % 8)
			flavor->read_quiescent_state();
		if (r % 64 == 0) {
			flavor->thread_offline();
			sleep_us(r % 500, true);
			flavor->thread_online();
		}
		if (r % 512 == 0) {
			resign(unseen);
			sched_yield();
			unseen = (r >> 9) % 16 == 0;
			enroll(unseen);
		}
		if (r % (brisk ? 16384 : 512) == 3)
			synchronize((r >> 14) % 2);
		if (r % 1024 == 1)
			qslab_rcu_wait(r % 2048 == 1 ? qslab_rcu_start() : qslab_rcu_get());
		if (r % 4096 == 2)
			qslab_rcu_barrier();
	}
	resign(unseen);
	collector_flush(&collector);
	ring_empty(&ring);
	return NULL;
}

/* ---- updaters ---- */

/* Not more than the machine can hold while a reader takes its time; over a minute of that is no progress. */
static void throttle(bool registered)
{
	struct qslab_rcu_stats now;
	double since = seconds();

	qslab_rcu_stats(&now);
	if (now.waiting_bytes < THROTTLE)
		return;
	if (registered)
		flavor->thread_offline();
	while (now.waiting_bytes > THROTTLE / 2 && !atomic_load(&stop)) {
		if (seconds() - since > 60)
			fail(HANG, "torture: %lu bytes wait for a minute; grace periods: %lu started, %lu completed",
			     (unsigned long)now.waiting_bytes, (unsigned long)now.started, (unsigned long)now.completed);
		sleep_us(1000, true);
		qslab_rcu_stats(&now);
	}
	if (registered)
		flavor->thread_online();
}

void *updater(void *number)
{
	uint64_t random = seed_of(number);
	struct ring ring = {{0}};
	struct collector collector;
	bool registered = (uintptr_t)number % 3 != 0, offline = (uintptr_t)number % 3 == 2;

	collector_init(&collector);
	if (registered)
		flavor->register_thread();
	if (offline)
		flavor->thread_offline();
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t r = next_random(&random);
		for (unsigned i = 0; i <= r % 64; i++) {
			element_replace(slot_to_replace(&random), &collector, &random, true);
			atomic_fetch_add_explicit(&count_replaced, 1, memory_order_relaxed);
			scribble(&ring, &random, 3);
		}
		if (registered && !offline && r % 3)
			flavor->read_quiescent_state();
		if (r >> 20 & 1)
			throttle(registered && !offline);
		if ((r >> 24) % 64 == 0)
			sleep_us((r >> 32) % 3000, true);
		if ((r >> 24) % 2048 == 1)
			qslab_rcu_barrier();
		if ((r >> 24) % 4096 == 2)
			qslab_trim();
	}
	if (offline)
		flavor->thread_online();
	if (registered)
		flavor->unregister_thread();
	collector_flush(&collector);
	ring_empty(&ring);
	return NULL;
}

/* Now and then, as many small objects as a fifth of a second can retire. */
void *flooder(void *number)
{
	uint64_t random = seed_of(number);
	while (!atomic_load(&stop)) {
		sleep_us(1500000 + next_random(&random) % 1500000, true);
		size_t size = 16 + next_random(&random) % 240;
		unsigned call = (unsigned)next_random(&random) % 4, flooded = 0;
		for (double end = seconds() + 0.2; seconds() < end && !atomic_load(&stop);) {
			for (int i = 0; i < 512; i++, flooded++) {
				void *object = obtain(size);
				memset(object, 0xf1, size);
				if (call == 0)
					qslab_free_rcu_head(object);
				else if (call == 1)
					qslab_free_rcu_nolock_link(object, object);
				else if (call == 2)
					qslab_free_rcu_mightsleep(object);
				else
					qslab_free_rcu_link(object, object);
			}
			throttle(false);
		}
		atomic_fetch_add(&count_flooded, flooded);
	}
	return NULL;
}

/* ---- threads that come and go, with objects pending ---- */

void *short_life(void *number)
{
	uint64_t random = seed_of(number);
	struct ring ring = {{0}};
	struct collector collector;
	bool reads = (uintptr_t)number % 2;

	collector_init(&collector);
	if (reads)
		flavor->register_thread();
	for (uint64_t i = next_random(&random) % 40; i; i--) {
		if (reads) {
			read_once(&random, &ring, &collector, dwell(&random, false));
			flavor->read_quiescent_state();
		}
		element_replace(slot_to_replace(&random), &collector, &random, true);
		scribble(&ring, &random, 2);
	}
	if (reads)
		flavor->unregister_thread();
	collector_flush(&collector);
	element_replace(slot_to_replace(&random), &collector, &random, true);
	collector_flush(&collector);
	ring_empty(&ring);
	return NULL;
}

void *spawner(void *number)
{
	for (uintptr_t n = (uintptr_t)number; !atomic_load(&stop);) {
		pthread_t threads[3];
		int count = 0;
		for (; count < 3; count++)
			if (pthread_create(&threads[count], NULL, short_life, (void *)n++))
				break;
		for (int i = 0; i < count; i++)
			pthread_join(threads[i], NULL);
		atomic_fetch_add(&count_threads, (unsigned long)count);
		sleep_us(2000, true);
	}
	return NULL;
}
