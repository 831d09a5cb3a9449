/*
 * explore: the protocols of alloc/ and reclaim/ in many schedules, each in a process of its own. See --help. A schedule
 * that fails is named by its test, seed and depth, with which it is run again.
 */
#define _GNU_SOURCE
#include "cases.h"
#include "schedule.h"
#include "tests/planted.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TWICE_EVERY 16 /* seeds: run again, it must take the same steps */
#define SOAK_S 120 /* each test */

struct result {
	unsigned steps;
	uint64_t hash;
};

static const char *bug; /* planted */
static struct result *result; /* shared with the process that runs the schedule */

static void one(const struct explore_case *test, uint64_t seed, unsigned depth)
{
	cpu_set_t here;

	alarm(DEADLOCK_S);
	CPU_ZERO(&here);
	CPU_SET((unsigned)sched_getcpu(), &here);
	sched_setaffinity(0, sizeof here, &here); /* one runs at a time anyway */
	schedule_begin(seed, depth, test->length);
	for (unsigned i = 0; i < test->count; i++)
		schedule_add(test->body);
	schedule_run();
	*result = (struct result){schedule_steps(), schedule_hash()};
	cases_settle();
	_exit(0);
}

static bool passes(const struct explore_case *test, uint64_t seed, unsigned depth)
{
	int status;

	fflush(NULL);
	pid_t child = fork();
	if (child == 0)
		one(test, seed, depth);
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("explore");
		exit(2);
	}
	if (status)
		printf("explore: FAILED, signal %d, status %d: explore --test %s --seed %llu --depth %u%s%s\n", WTERMSIG(status),
		       WEXITSTATUS(status), test->name, (unsigned long long)seed, depth, bug ? " --plant " : "", bug ? bug : "");
	return !status;
}

/* Seeds from `first` on; `seconds` more of them, if that is not 0. */
static bool explore(const struct explore_case *test, uint64_t first, unsigned count, unsigned depth, time_t seconds)
{
	uint64_t steps = 0, seed = first;
	time_t end = time(NULL) + seconds;

	for (; seed < first + count || (seconds && time(NULL) < end); seed++) {
		unsigned d = depth ? depth : 1 + (unsigned)(seed % SCHEDULE_WALK);
		if (!passes(test, seed, d))
			return false;
		steps += result->steps;
		uint64_t hash = result->hash;
		if ((seed - first) % TWICE_EVERY)
			continue;
		if (!passes(test, seed, d))
			return false;
		if (result->hash != hash) {
			printf("explore: %s, seed %llu: not the same steps twice\n", test->name, (unsigned long long)seed);
			return false;
		}
	}
	printf("ok      %s: %llu schedules of %llu steps\n", test->name, (unsigned long long)(seed - first),
	       (unsigned long long)(steps / (seed - first)));
	return true;
}

static int usage(FILE *out, int status)
{
	fputs("usage: explore [--test NAME] [--seed FIRST] [--count SEEDS] [--depth D] [--plant BUG]\n"
	      "  one schedule: --test NAME --seed N --depth D (it ends with its steps' hash); depth 0: 1 to 7 in turn\n"
	      "  QSLAB_SOAK=1: two minutes each, from a seed of its own\ntests:", out);
	for (unsigned i = 0; i < case_count; i++)
		fprintf(out, " %s", cases[i].name);
	fputs("\nbugs:\n", out);
	plant_list(out);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"test", 1, NULL, 't'}, {"seed", 1, NULL, 's'}, {"count", 1, NULL, 'c'},
		{"depth", 1, NULL, 'd'}, {"plant", 1, NULL, 'p'}, {"help", 0, NULL, 'h'}, {0}};
	bool soak = getenv("QSLAB_SOAK"), single = false, passed = true, found = false;
	unsigned long long seed = soak ? (unsigned long long)time(NULL) << 20 : 1;
	unsigned depth = 0, count = 800;
	const char *name = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 't': name = optarg; break;
		case 's': seed = strtoull(optarg, NULL, 0); single = true; break;
		case 'c': count = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'd': depth = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'p':
			if (!plant(optarg))
				return usage(stderr, 2);
			bug = optarg;
			break;
		case 'h': return usage(stdout, 0);
		default: return usage(stderr, 2);
		}
	single = single && name && depth;
	result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED)
		return 2;
	cases_prepare();
	for (unsigned i = 0; i < case_count; i++) {
		if (name && strcmp(name, cases[i].name))
			continue;
		found = true;
		passed = explore(&cases[i], seed, single ? 1 : count, depth, soak && !single ? SOAK_S : 0) && passed;
		if (single && passed)
			printf("steps %u, hash %016llx\n", result->steps, (unsigned long long)result->hash);
	}
	return found ? !passed : usage(stderr, 2);
}
