/* A load for lttng-sessiond: registers and unregisters triggers, some hundred alive. triggers COUNT */
#include <lttng/lttng.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ALIVE = 200 };

static struct lttng_trigger *made(long number)
{
	struct lttng_condition *condition = lttng_condition_session_consumed_size_create();
	char name[64];
	snprintf(name, sizeof name, "session%ld", number % 50);
	lttng_condition_session_consumed_size_set_session_name(condition, name);
	lttng_condition_session_consumed_size_set_threshold(condition, 1000 + (unsigned long)number);
	struct lttng_trigger *trigger = lttng_trigger_create(condition, lttng_action_notify_create());
	snprintf(name, sizeof name, "trigger%ld", number);
	if (!trigger || lttng_register_trigger_with_name(trigger, name) != LTTNG_OK)
		fprintf(stderr, "trigger %ld is refused\n", number), exit(1);
	return trigger;
}

int main(int count, char **arguments)
{
	static struct lttng_trigger *alive[ALIVE];
	long total = count > 1 ? atol(arguments[1]) : 1000;
	struct timespec from, to;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long i = 0; i < total + ALIVE; i++) {
		struct lttng_trigger **place = &alive[i % ALIVE];
		if (*place && lttng_unregister_trigger(*place))
			fprintf(stderr, "trigger %ld is not there\n", i - ALIVE), exit(1);
		lttng_trigger_destroy(*place);
		*place = i < total ? made(i) : NULL;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%ld triggers, %.0f a second\n", total, (double)total / ((double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9));
	return 0;
}
