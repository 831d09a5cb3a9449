/* Many threads, every byte of every live object verified, objects freed by whoever finds them. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { THREADS = 6, SLOTS = 400, MAILBOXES = 256 };

struct item {
	size_t size;
	unsigned char seed;
	unsigned char bytes[];
};

static struct item *_Atomic mailboxes[MAILBOXES];
static atomic_bool stop;

static struct item *make(uint64_t *random)
{
	size_t size = random_size(random);
	struct item *item = qslab_malloc(sizeof *item + size);
	cr_assert_not_null(item);
	item->size = size;
	item->seed = (unsigned char)*random;
	for (size_t i = 0; i < size; i++)
		item->bytes[i] = (unsigned char)(item->seed + i);
	return item;
}

static bool intact(const struct item *item)
{
	for (size_t i = 0; i < item->size; i++)
		if (item->bytes[i] != (unsigned char)(item->seed + i))
			return false;
	return true;
}

static void drop(struct item *item)
{
	if (!item)
		return;
	cr_assert(intact(item), "an object of %zu bytes was overwritten", item->size);
	cr_assert_eq(qslab_object_start(item->bytes), item);
	qslab_free(item);
}

static void *work(void *number)
{
	struct item *slots[SLOTS] = {0};
	uint64_t random = 88172645463325252u + (uintptr_t)number * 7919;
	int rounds = SCALE(60000);

	for (int i = 0; i < rounds; i++) {
		unsigned slot = next_random(&random) % SLOTS;
		switch (next_random(&random) % 4) {
		case 0: { /* hand over: somebody else frees */
			unsigned box = next_random(&random) % MAILBOXES;
			drop(atomic_exchange(&mailboxes[box], slots[slot]));
			slots[slot] = NULL;
			break;
		}
		case 1:
			if (slots[slot]) {
				size_t less = next_random(&random) % (slots[slot]->size + 1);
				struct item *same = qslab_realloc(slots[slot], sizeof *same + less);
				same->size = less;
				slots[slot] = same;
				break;
			}
			/* fall through */
		default:
			drop(slots[slot]);
			slots[slot] = make(&random);
		}
	}
	for (int i = 0; i < SLOTS; i++)
		drop(slots[i]);
	return NULL;
}

static size_t live(void)
{
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.live;
}

static void run_threads(void)
{
	pthread_t threads[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < MAILBOXES; i++)
		drop(atomic_exchange(&mailboxes[i], NULL));
}

Test(stress, contents_and_conservation)
{
	qslab_free(qslab_malloc(1));
	size_t before = live();
	run_threads();
	cr_assert_eq(live(), before);
	qslab_trim();
	struct qslab_memory memory;
	qslab_memory(&memory);
	cr_assert_eq(memory.live + memory.slab_free + memory.magazines, 0, "%zu %zu %zu", memory.live,
	             memory.slab_free, memory.magazines);
}

/* Signals interrupt malloc and free anywhere; their handler does not call them. */
static atomic_ulong interrupted;

static void on_signal(int number)
{
	atomic_fetch_add(&interrupted, 1);
}

Test(stress, signals)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 200}, {0, 200}}, NULL);
	run_threads();
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
	cr_assert_gt(interrupted, 0);
}

/* A thread that only frees gives objects back at once, but for a few in its magazines. */
static void *_Atomic hand;

static void *only_free(void *unused)
{
	while (!atomic_load(&stop)) {
		void *object = atomic_exchange(&hand, NULL);
		if (object)
			qslab_free(object);
	}
	struct qslab_memory memory;
	qslab_memory(&memory);
	return (void *)memory.magazines;
}

Test(stress, a_thread_that_only_frees_does_not_hoard)
{
	pthread_t thread;
	void *held = NULL;
	uint64_t random = 1;
	pthread_create(&thread, NULL, only_free, NULL);
	for (int i = 0; i < SCALE(200000); i++) {
		void *expected = NULL;
		void *object = qslab_malloc(1 + next_random(&random) % 8192);
		while (!atomic_compare_exchange_weak(&hand, &expected, object))
			expected = NULL;
	}
	while (atomic_load(&hand))
		sched_yield();
	atomic_store(&stop, true);
	pthread_join(thread, &held);
	cr_assert_leq((size_t)held, (size_t)8 << 20);
	qslab_trim();
	struct qslab_memory memory;
	qslab_memory(&memory);
	cr_assert_eq(memory.live, 0);
	cr_assert_leq(memory.slab_free, (size_t)1 << 20);
}
