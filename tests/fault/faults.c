/*
 * Every call of the system, and every piece of memory, that the core asks for fails once: a scripted workload runs
 * anew, in a process of its own, for each place and each position, and must end correctly or with a clean ENOMEM.
 *
 *     faults                                              all rounds, places and positions
 *     faults --round debug --place mmap --nth 17          one run, as a failure is named
 *     faults --place mmap                                 one place
 *
 * First a run that counts the calls of each place; then for each n a run where the nth call fails, and one where it and
 * the calls after it do, until the workload's end. Of many positions the first ones and a spread are tried; all with
 * QSLAB_SOAK.
 */
#define _GNU_SOURCE
#include "workload.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ALARM 60        /* s: only ends a deadlock */
#define JOBS_MOST 16
#define FAILURES_MOST 10
#define FOR_A_WHILE 40  /* calls */
#define EACH_WHILE 8    /* positions; of those after them, whose whiles are much alike, a fourth */

static const char *const names[FAULT_PLACES] = FAULT_NAMES;

/* Variables of a round; the first positions it tries of each place, and how many of the others. */
static const struct round {
	const char *name, *variables[2];
	unsigned first, spread;
} rounds[] = {
	{"plain", {NULL}, 60, 16},
	{"debug", {"QSLAB_RCU_DEBUG=1"}, 3, 3},
	{"sample", {"QSLAB_RCU_SAMPLE=4"}, 4, 4},
	{"profile", {"QSLAB_PROFILE=64K"}, 4, 4},
	{"harden", {"QSLAB_OPTIONS=harden"}, 3, 3},
};
enum { ROUNDS = sizeof rounds / sizeof *rounds };

/* A process at a time runs in each. */
static struct job {
	pid_t pid; /* 0: none */
	int fd, said; /* the board's, and stderr's, in memory */
	struct fault_board *board;
	const struct round *round;
} jobs[JOBS_MOST];

static unsigned job_count, runs, hits, failures;
static bool soak;

/* Without liburcu a reader cannot be registered: nothing could be freed safely, so the process ends. */
static bool must_abort(const struct fault_board *board)
{
	return board->place == FAULT_LIBURCU && board->failed;
}

static void job_report(const struct job *job, int status)
{
	const struct fault_board *board = job->board;
	char said[2000];

	runs++;
	hits += board->failed > 0;
	ssize_t length = pread(job->said, said, sizeof said - 1, 0);
	said[length > 0 ? length : 0] = '\0';
	if (must_abort(board) ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, "cannot be loaded")
	                      : status == 0)
		return;
	failures++;
	printf("FAILED (%s %d): faults --round %s", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), job->round->name);
	if (board->place < FAULT_PLACES)
		printf(" --place %s --nth %u --length %u", names[board->place], board->nth, board->length);
	printf("\n%s", said);
	fflush(stdout);
}

static void job_wait(void)
{
	int status;
	pid_t pid = wait(&status);

	for (unsigned i = 0; i < job_count; i++)
		if (jobs[i].pid == pid) {
			jobs[i].pid = 0;
			job_report(&jobs[i], status);
		}
}

static struct job *job_free(void)
{
	for (;; job_wait())
		for (unsigned i = 0; i < job_count; i++)
			if (!jobs[i].pid)
				return &jobs[i];
}

static bool any_job(void)
{
	for (unsigned i = 0; i < job_count; i++)
		if (jobs[i].pid)
			return true;
	return false;
}

static struct job *job_start(const struct round *round, unsigned place, unsigned nth, unsigned length)
{
	struct job *job = job_free();

	*job->board = (struct fault_board){.place = place, .nth = nth, .length = length};
	job->round = round;
	if (ftruncate(job->said, 0) || lseek(job->said, 0, SEEK_SET))
		exit(125);
	job->pid = fork();
	if (job->pid == 0) {
		char fd[32];
		char *environment[4] = {fd};
		snprintf(fd, sizeof fd, "FAULT_BOARD=%d", job->fd);
		for (unsigned i = 0; i < 2; i++)
			environment[i + 1] = (char *)round->variables[i];
		dup2(job->said, STDERR_FILENO);
		alarm(ALARM);
		execve("/proc/self/exe", (char *[]){"faults", "--work", NULL}, environment);
		_exit(126);
	}
	return job;
}

static void jobs_make(void)
{
	cpu_set_t cores;

	job_count = sched_getaffinity(0, sizeof cores, &cores) ? 1 : (unsigned)CPU_COUNT(&cores);
	job_count = job_count < JOBS_MOST ? job_count : JOBS_MOST;
	for (unsigned i = 0; i < job_count; i++) {
		struct job *job = &jobs[i];
		job->fd = memfd_create("board", 0);
		job->said = memfd_create("stderr", MFD_CLOEXEC);
		if (job->fd < 0 || job->said < 0 || ftruncate(job->fd, sizeof *job->board) ||
		    (job->board = mmap(NULL, sizeof *job->board, PROT_READ | PROT_WRITE, MAP_SHARED, job->fd, 0)) == MAP_FAILED)
			exit(125);
	}
}

/* Is the nth of `count` one to try? */
static bool tried(const struct round *round, unsigned nth, unsigned count)
{
	if (nth <= round->first || nth == count || soak)
		return true;
	unsigned left = count - round->first, step = left / round->spread + 1;
	return (nth - round->first) % step == 0;
}

static void run_round(const struct round *round, unsigned only)
{
	unsigned calls[FAULT_PLACES], before = runs, hits_before = hits;
	struct job *job = job_start(round, FAULT_PLACES, 0, 0);

	while (any_job())
		job_wait();
	for (unsigned place = 0; place < FAULT_PLACES; place++)
		calls[place] = job->board->calls[place];
	printf("%s:", round->name);
	for (unsigned place = 0; place < FAULT_PLACES; place++)
		printf(" %s %u", names[place], calls[place]);
	printf("\n");
	for (unsigned place = 0; place < FAULT_PLACES; place++)
		for (unsigned nth = 1; nth <= calls[place] && failures < FAILURES_MOST; nth++)
			if ((only == FAULT_PLACES || only == place) && tried(round, nth, calls[place])) {
				job_start(round, place, nth, 1);
				if (nth <= EACH_WHILE || nth % 4 == 0 || soak)
					job_start(round, place, nth, nth % 8 ? FOR_A_WHILE : UINT32_MAX);
			}
	while (any_job())
		job_wait();
	printf("%s: %u runs, in %u of them something failed\n", round->name, runs - before, hits - hits_before);
}

static unsigned find(const char *what, const char *name, const char *const *list, size_t stride, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(*(const char *const *)((const char *)list + i * stride), name))
			return i;
	fprintf(stderr, "faults: no %s '%s'\n", what, name);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"work", no_argument, NULL, 'w'},  {"round", required_argument, NULL, 'r'},
	                                        {"place", required_argument, NULL, 'p'}, {"nth", required_argument, NULL, 'n'},
	                                        {"length", required_argument, NULL, 'l'}, {NULL, 0, NULL, 0}};
	unsigned round = ROUNDS, place = FAULT_PLACES, nth = 0, length = 1;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (option) {
		case 'w':
			workload_run();
			return 0;
		case 'r':
			round = find("round", optarg, &rounds[0].name, sizeof rounds[0], ROUNDS);
			break;
		case 'p':
			place = find("place", optarg, names, sizeof names[0], FAULT_PLACES);
			break;
		case 'n':
			nth = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'l':
			length = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	soak = getenv("QSLAB_SOAK");
	jobs_make();
	if (nth) {
		job_start(&rounds[round < ROUNDS ? round : 0], place, nth, length);
		job_wait();
		printf("%u calls failed\n", jobs[0].board->failed);
		return failures > 0;
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		if (round == ROUNDS || round == i)
			run_round(&rounds[i], place);
	return failures > 0 || !hits;
}
