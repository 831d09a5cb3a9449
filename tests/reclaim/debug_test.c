/*
 * The debug mode and sampling: each misuse dies by the right signal, and its report names who allocated, who retired
 * and who touched; a clean program stays clean. Options are read before main, so each case runs in a new process:
 * this program again, with DEBUG_CASE naming the case.
 */
#include "debug_cases.h"

/* ---- running them --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name}
	CASE(retire_twice), CASE(retire_freed), CASE(free_retired), CASE(free_after_grace), CASE(retire_after_grace), CASE(free_twice),
	CASE(realloc_retired), CASE(nolock_twice), CASE(queue_twice), CASE(retire_interior), CASE(retire_foreign),
	CASE(hold_on), CASE(hold_on_and_run), CASE(write_before_the_end), CASE(free_and_touch),
	CASE(free_and_touch_on_altstack), CASE(other_fault), CASE(killed_from_outside), CASE(ignored_from_outside),
	CASE(mixed),
	CASE(destroy_beside_quarantine), CASE(counts),
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
	clean("destroy_beside_quarantine", 0, "QSLAB_RCU_DEBUG", "1");
	clean("counts", 0, "QSLAB_RCU_DEBUG", "1");
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
	EXPECT("retire_freed", "use after free, of a", "who_retires_again", "who_allocates", "freed by", "who_frees");
}

Test(sample, other_signals)
{
	int status = run("other_fault", 200, "QSLAB_RCU_SAMPLE", "1");
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 5 && !strcmp(text, "its own handler\n"), "%x: %s", status,
	          text);
	if (!SANITIZED) /* its handler exits */
		sampled("killed_from_outside", 200, SIGSEGV);
	clean("ignored_from_outside", 200, "QSLAB_RCU_SAMPLE", "1");
}
