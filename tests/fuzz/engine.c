/*
 * Runs a target without a fuzzing engine: the files given, and folders of them, or random inputs from a seed.
 *
 *     fuzz_calls FILE...    fuzz_calls --seconds N [--seed S]    fuzz_calls --count N --seed S [--first F]
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char current[512]; /* what to do to see it again */

static void tell(int number)
{
	if (write(STDERR_FILENO, current, strlen(current)) < 0)
		_exit(2);
	signal(number, SIG_DFL);
	raise(number);
}

static unsigned run_file(const char *path)
{
	static uint8_t bytes[1 << 20];
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		exit(2);
	}
	size_t size = fread(bytes, 1, sizeof bytes, file);
	fclose(file);
	snprintf(current, sizeof current, "fuzz: in %.400s\n", path);
	LLVMFuzzerTestOneInput(bytes, size);
	return 1;
}

static unsigned run_path(const char *path)
{
	char name[4096];
	DIR *folder = opendir(path);
	unsigned runs = 0;

	if (!folder)
		return run_file(path);
	for (struct dirent *entry; (entry = readdir(folder));)
		if (entry->d_name[0] != '.') {
			snprintf(name, sizeof name, "%.3000s/%.255s", path, entry->d_name);
			runs += run_path(name);
		}
	closedir(folder);
	return runs;
}

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Each from the seed and its number alone. */
static void run_random(uint64_t seed, uint64_t number)
{
	uint8_t bytes[MOST];
	uint64_t state = seed ^ number * 0xd6e8feb86659fd93;
	size_t size = 2 + next(&state) % (next(&state) % (MOST - 2) + 1);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)next(&state);
	snprintf(current, sizeof current, "fuzz: again with --seed %llu --first %llu --count 1\n", (unsigned long long)seed,
	         (unsigned long long)number);
	LLVMFuzzerTestOneInput(bytes, size);
}

int main(int argc, char **argv)
{
	unsigned long long seconds = 0, count = 0, first = 0, seed = (unsigned long long)time(NULL), runs = 0;

	signal(SIGABRT, tell);
	signal(SIGSEGV, tell);
	for (int i = 1; i < argc; i++) {
		unsigned long long *number = !strcmp(argv[i], "--seconds") ? &seconds : !strcmp(argv[i], "--count") ? &count
		                             : !strcmp(argv[i], "--first") ? &first : !strcmp(argv[i], "--seed") ? &seed : NULL;
		if (!number)
			runs += run_path(argv[i]);
		else if (i + 1 < argc)
			*number = strtoull(argv[++i], NULL, 10);
	}
	time_t end = time(NULL) + (time_t)seconds;
	if (seconds || count)
		fprintf(stderr, "fuzz: seed %llu\n", seed);
	for (unsigned long long i = first; (seconds || count) && (!count || i < first + count); i++, runs++) {
		if (seconds && time(NULL) >= end)
			break;
		run_random(seed, i);
	}
	printf("fuzz: %llu inputs\n", runs);
	return 0;
}
