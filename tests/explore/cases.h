/* What is explored: each case adds its threads to the schedule, and looks at everything when they have ended. */
#ifndef QSLAB_TESTS_CASES_H
#define QSLAB_TESTS_CASES_H

#define DEADLOCK_S 60 /* only ends a deadlock */

struct explore_case {
	const char *name;
	unsigned length;      /* steps, about */
	unsigned count;       /* of threads */
	void (*body)(unsigned index);
};

extern const struct explore_case cases[];
extern const unsigned case_count;

/* Once, before any schedule: what every schedule starts from. */
void cases_prepare(void);

/* In the process of one schedule, its threads gone: nothing is lost, and nothing is left. */
void cases_settle(void);

/* Says what is wrong and aborts. */
#define CHECK(condition, ...)                               \
	do {                                                \
		if (!(condition)) {                         \
			fprintf(stderr, "explore: " __VA_ARGS__); \
			fputs(": " #condition "\n", stderr);      \
			abort();                            \
		}                                           \
	} while (0)

/* The counting identities of layout.h, of every slab; nobody is changing any. */
void check_counts(void);

/* The same, and no slab lies all free beside the one that its heap may keep. */
void check_given_back(void);

#endif
