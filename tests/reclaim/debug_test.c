/*
 * The debug mode and sampling: each misuse dies by the right signal, and its report names who allocated, who retired
 * and who touched; a clean program stays clean. Options are read before main, so each case runs in a new process:
 * this program again, with DEBUG_CASE naming the case.
 */
#include "retire.h"

#include <signal.h>

/* Its calls are not the last thing a function does, or its frame would be gone. */
#define HERE __asm__ volatile("" ::: "memory")
#define NAMED __attribute__((noinline, visibility("default")))

NAMED void *who_allocates(size_t size);
NAMED void who_retires(void *object);
NAMED void who_retires_again(void *object);
NAMED void who_frees(void *object);
NAMED void who_touches(volatile char *object);

NAMED void *who_allocates(size_t size)
{
	void *object = qslab_malloc(size);
	memset(object, 1, size);
	return object;
}

NAMED void who_retires(void *object)
{
	qslab_free_rcu_mightsleep(object);
	HERE;
}

NAMED void who_retires_again(void *object)
{
	qslab_free_rcu_link(object, object);
	HERE;
}

NAMED void who_frees(void *object)
{
	qslab_free(object);
	HERE;
}

NAMED void who_touches(volatile char *object)
{
	object[40] = (char)(object[41] + 'A');
	HERE;
}

/* ---- cases ---------------------------------------------------------------------------------------------- */

static size_t size_of_case;

/* A reader with no quiescent state: no grace period ends. */
static void stay(void)
{
	urcu_qsbr_register_thread();
}

static void retire_twice(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	who_retires(object);
	who_retires(who_allocates(size_of_case));
	who_retires_again(object);
}

static void retire_freed(void)
{
	void *object = who_allocates(size_of_case);
	who_frees(object);
	who_retires_again(object);
}

static void free_retired(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	who_retires(object);
	who_frees(object);
}

static void free_after_grace(void)
{
	void *object = who_allocates(size_of_case);
	who_retires(object);
	qslab_rcu_barrier();
	who_frees(object);
}

static void retire_after_grace(void)
{
	void *object = who_allocates(size_of_case);
	who_retires(object);
	qslab_rcu_barrier();
	who_retires_again(object);
}

static void free_twice(void)
{
	void *object = who_allocates(size_of_case);
	who_frees(object);
	who_frees(object);
}

static void realloc_retired(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	who_retires(object);
	(void)!qslab_realloc(object, 10);
}

static void nolock_twice(void)
{
	void *object = who_allocates(size_of_case);
	stay();
	qslab_free_rcu_nolock_link(object, object);
	qslab_free_rcu_nolock_link(object, object);
}

/* Links itself: without the mode the list would have no end. */
static void queue_twice(void)
{
	struct qslab_free_q queue;
	void *object = who_allocates(size_of_case);
	stay();

	qslab_free_q_init(&queue);
	qslab_free_q_link(&queue, object);
	qslab_free_q_link(&queue, object);
	qslab_free_q_flush_rcu(&queue);
}

static void retire_interior(void)
{
	who_retires((char *)who_allocates(size_of_case) + 16);
}

static void retire_foreign(void)
{
	static char data[64] = "data";
	who_retires(data);
}

/* A reader that goes past its quiescent state and still uses what it found before. */
static char *_Atomic shared;
static atomic_bool reader_has_it, over;

static void *reader_that_holds_on(void *unused)
{
	urcu_qsbr_register_thread();
	char *held = atomic_load(&shared);
	atomic_store(&reader_has_it, true);
	while (!atomic_load(&over))
		urcu_qsbr_quiescent_state(); /* here `held` dies, and it does not notice */
	who_touches(held);
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void hold_on(void)
{
	pthread_t reader;

	atomic_store(&shared, who_allocates(size_of_case));
	pthread_create(&reader, NULL, reader_that_holds_on, NULL);
	while (!atomic_load(&reader_has_it))
		pause_ms(1);
	char *old = atomic_exchange(&shared, NULL);
	who_retires(old);
	qslab_rcu_barrier();
	atomic_store(&over, true);
	pthread_join(reader, NULL);
}

/* The write is seen when the object leaves the quarantine, not only at exit. */
static void hold_on_and_run(void)
{
	hold_on();
	for (int i = 0; i < 1000000; i++) {
		void *object = qslab_malloc(1024);
		qslab_free(object);
	}
	_exit(0);
}

/* A late writer is allowed until the grace period is over. */
static void write_before_the_end(void)
{
	urcu_qsbr_register_thread();
	char *object = who_allocates(size_of_case);
	who_retires(object);
	who_touches(object);
	if (object[100] != 1)
		_exit(3);
	urcu_qsbr_unregister_thread();
	qslab_rcu_barrier();
	for (size_t i = 0; size_of_case <= 1 << 20 && getenv("QSLAB_RCU_DEBUG") && i < size_of_case; i++)
		if (object[i] != 0x6b)
			_exit(4);
}

static void free_and_touch(void)
{
	char *object = who_allocates(size_of_case);
	who_frees(object);
	who_touches(object);
}

/* On a signal stack, as a program that catches its own overflows has one. */
static void free_and_touch_on_altstack(void)
{
	static char stack[32 << 10];
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
	free_and_touch();
}

static void own_handler(int number)
{
	(void)number;
	(void)!write(STDERR_FILENO, "its own handler\n", 16);
	_exit(5);
}

/* A fault that is not ours goes to the handler the program had. */
static void other_fault(void)
{
	signal(SIGSEGV, own_handler);
	who_frees(who_allocates(size_of_case));
	volatile char *volatile nowhere = (char *)16;
	*nowhere = 1;
}

static void killed_from_outside(void)
{
	who_frees(who_allocates(size_of_case));
	kill(getpid(), SIGSEGV);
}

/* ---- a clean program ---------------------------------------------------------------------------------------- */

#define SLOTS 64
static struct element {
	uint64_t sum;
	struct rcu_ptr link;
	size_t words;
	uint64_t body[];
} *_Atomic slots[SLOTS];

static struct element *element_new(uint64_t *seed)
{
	size_t size = random_size(seed) + sizeof(struct element), words = (size - sizeof(struct element)) / 8;
	struct element *element = qslab_malloc(size);
	element->sum = element->words = words;
	for (size_t i = 0; i < words; i++)
		element->sum += element->body[i] = next_random(seed);
	return element;
}

static void element_check(const struct element *element)
{
	uint64_t sum = element->words;
	for (size_t i = 0; i < element->words; i++)
		sum += element->body[i];
	if (sum != element->sum)
		_exit(6);
}

static void *worker(void *number)
{
	uint64_t seed = 88172645463325252u + (uintptr_t)number * 7919;

	urcu_qsbr_register_thread();
	for (int i = 0; i < SCALE(4000); i++) {
		uint64_t r = next_random(&seed);
		struct element *old, *seen = atomic_load(&slots[r % SLOTS]);
		if (seen)
			element_check(seen);
		if (r >> 32 & 1) {
			old = atomic_exchange(&slots[r % SLOTS], element_new(&seed));
			if (old)
				calls[r % CALLS].retire(old, &old->link);
		} else {
			old = qslab_realloc(qslab_calloc(1, r >> 40 & 4095), r >> 20 & 8191);
			qslab_free(r & 1 ? old : qslab_realloc(old, 1 + (r >> 50)));
			qslab_free(qslab_aligned_alloc(256, r >> 30 & 1023));
		}
		urcu_qsbr_quiescent_state();
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

static void run_workers(void)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, worker, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void mixed(void)
{
	run_workers();
	pid_t child = fork();
	int status = -1;
	run_workers();
	qslab_rcu_barrier();
	if (child == 0)
		exit(0);
	if (waitpid(child, &status, 0) != child || status)
		_exit(7);
	struct qslab_rcu_stats now = stats();
	if (now.waiting || now.retired != now.reclaimed || now.retired < 100)
		_exit(8);
}

/* ---- running them --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name}
	CASE(retire_twice), CASE(retire_freed), CASE(free_retired), CASE(free_after_grace), CASE(retire_after_grace), CASE(free_twice),
	CASE(realloc_retired), CASE(nolock_twice), CASE(queue_twice), CASE(retire_interior), CASE(retire_foreign),
	CASE(hold_on), CASE(hold_on_and_run), CASE(write_before_the_end), CASE(free_and_touch),
	CASE(free_and_touch_on_altstack), CASE(other_fault), CASE(killed_from_outside), CASE(mixed),
};

/* Before Criterion's main; after the library's own constructors. */
__attribute__((constructor)) static void run_case(void)
{
	const char *name = getenv("DEBUG_CASE"), *size = getenv("DEBUG_SIZE");

	for (unsigned i = 0; name && i < sizeof cases / sizeof *cases; i++)
		if (!strcmp(cases[i].name, name)) {
			size_of_case = size ? strtoul(size, NULL, 10) : 200;
			cases[i].run();
			exit(0);
		}
}

static char text[64 << 10];

/* Its wait status; `text` is what it wrote to stderr. */
static int run(const char *name, size_t size, const char *option, const char *value)
{
	int pipe_ends[2], status;
	char number[32];

	cr_assert(pipe(pipe_ends) == 0);
	pid_t child = fork();
	if (child == 0) {
		snprintf(number, sizeof number, "%zu", size);
		dup2(pipe_ends[1], STDERR_FILENO);
		close(pipe_ends[0]);
		close(pipe_ends[1]);
		setenv("DEBUG_CASE", name, 1);
		setenv("DEBUG_SIZE", number, 1);
		setenv(option, value, 1);
		execl("/proc/self/exe", "debug_test", NULL);
		_exit(127);
	}
	close(pipe_ends[1]);
	size_t length = 0;
	ssize_t got;
	while ((got = read(pipe_ends[0], text + length, sizeof text - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	close(pipe_ends[0]);
	waitpid(child, &status, 0);
	return status;
}

/* Texts in this order, "" for none. */
static void expect_order(const char *name, const char *const *expected, unsigned count)
{
	const char *at = text;
	for (unsigned i = 0; i < count; i++) {
		const char *found = strstr(at, expected[i]);
		cr_assert(found, "%s: '%s' is missing or not in its place in:\n%s", name, expected[i], text);
		at = found;
	}
}
#define EXPECT(name, ...)                                                                                  \
	do {                                                                                              \
		const char *expected_[] = {__VA_ARGS__};                                                  \
		expect_order(name, expected_, sizeof expected_ / sizeof *expected_);                      \
	} while (0)

static void debug(const char *name, size_t size)
{
	int status = run(name, size, "QSLAB_RCU_DEBUG", "1");
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %x:\n%s", name, status, text);
}

static void sampled(const char *name, size_t size, int signal)
{
	int status = run(name, size, "QSLAB_RCU_SAMPLE", "1");
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signal, "%s: status %x:\n%s", name, status, text);
}

static void clean(const char *name, size_t size, const char *option, const char *value)
{
	int status = run(name, size, option, value);
	cr_assert(status == 0 && !*text, "%s with %s=%s: status %x:\n%s", name, option, value, status, text);
}

static const size_t sizes[] = {200, 5000, 100000, 1 << 20};
#define EACH_SIZE int i = 0; i < 4; i++

Test(debug, double_retire)
{
	for (EACH_SIZE) {
		debug("retire_twice", sizes[i]);
		EXPECT("retire_twice", "qslab: qslab_free_rcu(", "double retire of a", "-byte object\n", "this call",
		       "who_retires_again", "allocated by thread", "who_allocates", "retired by thread", "who_retires");
	}
	debug("nolock_twice", 200);
	EXPECT("nolock_twice", "qslab: qslab_free_rcu_nolock(", "double retire", "who_allocates", "retired by");
	debug("queue_twice", 200);
	EXPECT("queue_twice", "qslab: qslab_free_q_flush_rcu(", "double retire", "who_allocates", "retired by");
}

Test(debug, retire_after_free)
{
	for (EACH_SIZE) {
		debug("retire_freed", sizes[i]);
		EXPECT("retire_freed", "qslab: qslab_free_rcu(", "retire of a freed", "this call", "who_retires_again",
		       "allocated by thread", "who_allocates", "freed by thread", "who_frees");
	}
}

Test(debug, free_after_retire)
{
	for (EACH_SIZE) {
		debug("free_retired", sizes[i]);
		EXPECT("free_retired", "qslab: qslab_free(", "free of a retired", "this call", "who_frees",
		       "allocated by thread", "who_allocates", "retired by thread", "who_retires");
		debug("free_after_grace", sizes[i]);
		EXPECT("free_after_grace", "free, after its grace period, of a", "who_frees", "who_allocates",
		       "retired by", "who_retires");
		debug("retire_after_grace", sizes[i]);
		EXPECT("retire_after_grace", "double retire, after the grace period, of a", "who_retires_again",
		       "who_allocates", "retired by", "who_retires");
		debug("free_twice", sizes[i]);
		EXPECT("free_twice", "double free", "this call", "who_frees", "who_allocates", "freed by", "who_frees");
	}
	debug("realloc_retired", 200);
	EXPECT("realloc_retired", "qslab: qslab_realloc(", "free of a retired", "who_allocates", "who_retires");
}

Test(debug, not_an_object)
{
	debug("retire_interior", 200);
	EXPECT("retire_interior", "interior pointer: 16 bytes into the 208-byte", "this call", "who_retires",
	       "allocated by", "who_allocates");
	debug("retire_foreign", 200);
	EXPECT("retire_foreign", "not a qslab object", "this call", "who_retires");
}

Test(debug, write_after_the_grace_period)
{
	for (EACH_SIZE) {
		debug("hold_on", sizes[i]);
		EXPECT("hold_on", "qslab: write after the grace period: ", "changed at bytes 40..40, now ac\n",
		       "allocated by", "who_allocates", "retired by", "who_retires");
	}
	debug("hold_on_and_run", 200);
	EXPECT("hold_on_and_run", "write after the grace period", "who_allocates", "who_retires");
	debug("free_and_touch", 200);
	EXPECT("free_and_touch", "write after free", "who_allocates", "freed by", "who_frees");
}

Test(debug, clean)
{
	clean("write_before_the_end", 200, "QSLAB_RCU_DEBUG", "1");
	clean("write_before_the_end", 1 << 20, "QSLAB_RCU_DEBUG", "1");
	clean("write_before_the_end", 200, "QSLAB_RCU_SAMPLE", "1");
	clean("mixed", 0, "QSLAB_RCU_DEBUG", "1");
}

Test(sample, clean)
{
	clean("mixed", 0, "QSLAB_RCU_SAMPLE", "1");
	clean("mixed", 0, "QSLAB_RCU_SAMPLE", "10");
	clean("mixed", 0, "QSLAB_RCU_SAMPLE", "0");
	setenv("QSLAB_RCU_DEBUG", "1", 1);
	clean("mixed", 0, "QSLAB_RCU_SAMPLE", "5");
}

Test(sample, a_reader_that_holds_on)
{
	sampled("hold_on", 200, SIGSEGV);
	EXPECT("hold_on", "qslab: use after the grace period: address", " 41 bytes into the sampled object",
	       "touched by thread", "who_touches", "allocated by thread", "who_allocates", "retired by thread", " s ago",
	       "who_retires");
	sampled("hold_on", 4000, SIGSEGV);
}

Test(sample, use_after_free)
{
	sampled("free_and_touch", 200, SIGSEGV);
	EXPECT("free_and_touch", "use after free", "touched by", "who_touches", "who_allocates", "freed by", "who_frees");
	sampled("free_and_touch_on_altstack", 200, SIGSEGV);
	EXPECT("free_and_touch_on_altstack", "use after free", "who_touches", "who_allocates", "who_frees");
}

Test(sample, misuse)
{
	sampled("retire_twice", 200, SIGABRT);
	EXPECT("retire_twice", "double retire", "who_retires_again", "who_allocates", "who_retires");
	sampled("free_retired", 200, SIGABRT);
	EXPECT("free_retired", "free of a retired", "who_frees", "who_allocates", "who_retires");
	sampled("retire_freed", 200, SIGABRT);
	EXPECT("retire_freed", "nothing live is there", "who_retires_again", "who_allocates", "freed by", "who_frees");
}

Test(sample, other_signals)
{
	int status = run("other_fault", 200, "QSLAB_RCU_SAMPLE", "1");
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 5 && !strcmp(text, "its own handler\n"), "%x: %s", status,
	          text);
	if (!SANITIZED) /* its handler exits */
		sampled("killed_from_outside", 200, SIGSEGV);
}
