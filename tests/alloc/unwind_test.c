/*
 * unwind_take gives what backtrace gives, frame for frame: on stacks of all kinds, by rules that are kept where it can.
 * Each stack is taken several times: the first is backtrace's, and shows how far this one may go.
 */
#define _GNU_SOURCE
#include "alloc/unwind.h"
#include "check.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <ucontext.h>

/* As in unwind.c. A sanitizer's backtrace() has a frame of its own, and may leave everything to libc's. */
#if defined(__x86_64__) && defined(__LP64__) && defined(DLFO_STRUCT_HAS_EH_DBASE) && !SANITIZED
#define OWN_WAY 1
#else
#define OWN_WAY 0
#endif

#ifdef __clang__ /* which has no say in a function's frame pointer */
#define NOINLINE __attribute__((noinline, disable_tail_calls))
#define POINTER(no) NOINLINE
#else
#define NOINLINE __attribute__((noinline, optimize("no-optimize-sibling-calls")))
#define POINTER(no) __attribute__((noinline, optimize(no "omit-frame-pointer,no-optimize-sibling-calls")))
#endif
#define TIMES 3

static atomic_int after; /* what is done behind a call, so that it is none in the tail */

static uint64_t taken_own(void)
{
	return load_relaxed(&unwind_counts.own);
}

NOINLINE static void compare(int most)
{
	void *by_us[UNWIND_MOST], *by_libc[UNWIND_MOST + 1];
	int ours = unwind_take(by_us, most), theirs = backtrace(by_libc, most + SANITIZED) - SANITIZED, first = SANITIZED;

	cr_assert(ours == theirs, "%d frames instead of %d, at most %d", ours, theirs, most);
	for (int i = 1; i < ours; i++)
		cr_assert(by_us[i] == by_libc[first + i], "frame %d of %d", i, ours);
	cr_assert(ours > 0 && (char *)by_us[0] > (char *)compare && (char *)by_us[0] < (char *)by_libc[first]);
}

/* True if the last time went by rules. */
NOINLINE static bool same(void)
{
	uint64_t before = 0;

	for (int i = 0; i < TIMES; i++) {
		compare(UNWIND_MOST);
		before = taken_own();
		compare(1);
		compare(2);
		compare(34);
	}
	return taken_own() == before + 3;
}

static void expect_own(bool own)
{
	cr_assert(own || !OWN_WAY, "left to backtrace");
}

static void expect_whole(bool own)
{
	cr_assert(!own, "not left to backtrace");
}

NOINLINE static bool plain(void)
{
	bool own = same();
	after++;
	return own;
}

Test(unwind, plain)
{
	void *first[2];
	backtrace(first, 2);
	expect_own(plain());
	uint64_t read = load_relaxed(&unwind_counts.read), found = load_relaxed(&unwind_counts.found);
	for (int i = 0; i < 100; i++)
		compare(UNWIND_MOST);
#if OWN_WAY
	read = load_relaxed(&unwind_counts.read) - read;
	found = load_relaxed(&unwind_counts.found) - found;
	cr_assert(found > 300 && found > read, "%lu found, %lu read again", found, read); /* two frames may share a slot */
#else
	(void)read, (void)found;
#endif
}

/* ---- functions --------------------------------------------------------------------------------------------------- */

NOINLINE static bool deep(int levels, bool (*leaf)(void))
{
	volatile char room[40];
	room[levels % 40] = 1;
	bool own = levels ? deep(levels - 1, leaf) : leaf();
	after += room[levels % 40];
	return own;
}

/* Deeper than is taken, and further down each time. */
Test(unwind, deep)
{
	for (int levels = 0; levels < 2000; levels = levels * 5 / 4 + 1)
		expect_own(deep(levels, plain));
	for (int levels = 2000; levels > 0; levels = levels * 4 / 5)
		expect_own(deep(levels, plain));
}

POINTER("no-") static bool with_pointer(bool (*leaf)(void))
{
	bool own = leaf();
	after++;
	return own;
}

POINTER("") static bool without_pointer(bool (*leaf)(void))
{
	bool own = leaf();
	after++;
	return own;
}

NOINLINE static bool with_array(bool (*leaf)(void), size_t size)
{
	volatile char array[size], *more = __builtin_alloca(size * 3);
	array[size / 2] = more[size] = 1;
	bool own = leaf();
	after += array[size / 2] + more[size];
	return own;
}

/* rbp is a register like others here, saved among them. */
NOINLINE static bool with_registers(bool (*leaf)(void), long a, long b, long c, long d, long e)
{
	bool own = leaf();
	for (int i = 0; i < 3; i++)
		own &= leaf();
	after += (int)(a * b + c * d + e);
	return own;
}

NOINLINE static bool with_big_frame(bool (*leaf)(void))
{
	volatile char room[300000];
	room[7] = 1;
	bool own = leaf();
	after += room[7];
	return own;
}

static bool mixed(void)
{
	return (int)with_pointer(plain) & (int)without_pointer(plain) & (int)with_array(plain, 77) & (int)with_registers(plain, 1, 2, 3, 4, 5);
}

NOINLINE static bool twice_mixed(void)
{
	bool own = (int)with_pointer(mixed) & (int)without_pointer(mixed) & (int)with_array(mixed, 4000);
	own &= with_registers(mixed, 5, 4, 3, 2, 1);
	after++;
	return own;
}

Test(unwind, functions)
{
	expect_own(twice_mixed());
	expect_own(deep(5, twice_mixed));
	expect_own(with_big_frame(twice_mixed));
}

/* Its frame is found by an expression, or its code tells a register that no rule has. */
NOINLINE static bool realigned(void)
{
	volatile char room[64] __attribute__((aligned(256)));
	volatile char *more = __builtin_alloca((size_t)after % 7 + 100);
	room[3] = more[3] = 1;
	bool own = plain();
	after += room[3] + more[3];
	return own;
}

Test(unwind, realigned)
{
	realigned();
}

/* ---- called by others -------------------------------------------------------------------------------------------- */

static int own_calls, calls;

NOINLINE static int order(const void *a, const void *b)
{
	own_calls += plain();
	calls++;
	return *(const int *)a - *(const int *)b;
}

static void keep(void *number)
{
}

Test(unwind, callbacks)
{
	int numbers[] = {5, 3, 8, 1, 9, 2}, key = 8;
	void *tree = NULL;

	qsort(numbers, 6, sizeof *numbers, order);
	cr_assert(bsearch(&key, numbers, 6, sizeof *numbers, order));
	for (int i = 0; i < 6; i++)
		tsearch(&numbers[i], &tree, order);
	tdestroy(tree, keep);
	cr_assert(calls > 6);
	expect_own(own_calls == calls);
}

static bool handled;

static void handle(int number)
{
	handled = plain();
	calls++;
}

static void raise_it(int flags)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = flags};
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	cr_assert(calls == 1);
	expect_whole(handled); /* a signal's frame */
	expect_own(plain());
}

Test(unwind, signal)
{
	plain();
	raise_it(0);
}

Test(unwind, signal_on_its_own_stack)
{
	static char room[1 << 16];
	stack_t stack = {.ss_sp = room, .ss_size = sizeof room};

	plain();
	cr_assert(sigaltstack(&stack, NULL) == 0);
	raise_it(SA_ONSTACK);
}

static void *thread(void *argument)
{
	for (int i = 0; i < 50; i++)
		deep(i, twice_mixed);
	return NULL;
}

Test(unwind, threads)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, thread, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	expect_own(taken_own() > 100 * load_relaxed(&unwind_counts.whole));
}

/* ---- other stacks ------------------------------------------------------------------------------------------------ */

static ucontext_t here, there;
static bool there_own;

static void context(void)
{
	for (int i = 0; i < 20; i++) {
		there_own = deep(3, plain);
		swapcontext(&there, &here);
	}
}

/* One after the other, and in turns; the stack goes away, and another one is at its place. */
Test(unwind, contexts)
{
	enum { SIZE = 1 << 17 };

	for (volatile int stacks = 0; stacks < 3; stacks++) {
		char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		cr_assert(stack != MAP_FAILED && getcontext(&there) == 0);
		there.uc_stack.ss_sp = stack;
		there.uc_stack.ss_size = SIZE;
		there.uc_link = &here;
		makecontext(&there, context, 0);
		for (int i = 0; i < 21; i++) {
			swapcontext(&here, &there);
			if (i % 5 == stacks)
				plain();
		}
		munmap(stack, SIZE);
	}
	for (int i = 0; i < 10; i++)
		plain();
	expect_own(plain());
}

/* ---- code that goes ---------------------------------------------------------------------------------------------- */

/* A library whose one function calls back, its frame `frame` bytes large. */
static void build(const char *name, int frame, const char *flags)
{
	char command[600];

	snprintf(command, sizeof command,
	         "printf 'int passes(int (*f)(void)){volatile char room[%d];room[1]=2;return f()+room[1]-2;}' |"
	         " cc -xc -shared -fPIC -O1 %s -o %s -", frame, flags, name);
	cr_assert(system(command) == 0);
}

static int plain_number(void)
{
	return plain();
}

static void *call_in(const char *name)
{
	void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	cr_assert(library, "%s", dlerror());
	int (*passes)(int (*)(void)) = (int (*)(int (*)(void)))dlsym(library, "passes");
	for (int i = 0; i < 3; i++)
		expect_own(passes(plain_number));
	void *at = (void *)passes;
	dlclose(library);
	return at;
}

/* One library after the other, at the same place under the same name: same addresses, other frames. */
Test(unwind, unloaded)
{
	char name[100];
	void *first = NULL;
	int again = 0;

	if (system("cc --version >/dev/null 2>&1"))
		return;
	snprintf(name, sizeof name, "/tmp/qslab-unwind-%d.so", (int)getpid());
	for (int i = 0; i < 6; i++) {
		build(name, 40 + 64 * (i % 3), i % 2 ? "-fno-omit-frame-pointer" : "-fomit-frame-pointer");
		void *at = call_in(name);
		unlink(name);
		again += at == first;
		first = first ? first : at;
	}
	cr_assert(again > 0 || SANITIZED, "never at the same place: nothing was tested");
}
