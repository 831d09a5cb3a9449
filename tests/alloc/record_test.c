/* Records of objects when there is no memory for more: those there are, are kept up to date. */
#include "alloc/record.h"
#include "check.h"

#include <sys/resource.h>

enum { OBJECTS = 40000, MORE = 400000 };

static const void *object(size_t i)
{
	return (const void *)(uintptr_t)(0x100000 + i * 16);
}

static void records_at_a_limit(void)
{
	struct event event = {0};
	struct record record;
	struct rlimit old;

	for (size_t i = 0; i < OBJECTS; i++) {
		record_alloc(object(i), 16, &event);
		record_change(object(i), 16, RECORD_LIVE, RECORD_FREED, &event, NULL);
	}
	getrlimit(RLIMIT_AS, &old);
	if (setrlimit(RLIMIT_AS, &(struct rlimit){1 << 20, old.rlim_max}))
		_exit(3);
	size_t unknown = 0;
	for (size_t i = OBJECTS; i < MORE; i++) {
		record_alloc(object(i), 16, &event);
		unknown += !record_find(object(i), &record);
	}
	if (!unknown)
		_exit(2); /* there was memory */
	for (size_t i = 0; i < OBJECTS; i++) {
		record_alloc(object(i), 16, &event);
		if (!record_find(object(i), &record) || record.state != RECORD_LIVE)
			_exit(1);
	}
	_exit(0);
}

Test(record, what_is_recorded_stays_true_without_memory, .disabled = SANITIZED)
{
	expect_success(records_at_a_limit);
}
