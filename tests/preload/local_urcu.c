/*
 * Plugins that bring a liburcu of their own, which nobody else sees: what they register with is what they wait for, whatever
 * other copies there are, and however they were loaded. liburcu.so is memb by another name. And a copy that the loader is
 * not done with is not called.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 4

/* 0: all waited for their readers. */
static int visit(char *const names[], int count)
{
	void (*start[MOST])(void), (*synchronize[MOST])(void);
	bool (*end[MOST])(void);

	for (int i = 0; i < count; i++) {
		char path[4096];
		snprintf(path, sizeof path, "%s%s.so", GUESTS, names[i]);
		void *guest = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (!guest) {
			printf("%s\n", dlerror());
			return 1;
		}
		start[i] = (void (*)(void))dlsym(guest, "guest_start");
		synchronize[i] = (void (*)(void))dlsym(guest, "guest_synchronize");
		end[i] = (bool (*)(void))dlsym(guest, "guest_end");
	}
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < count; i++) {
			start[i]();
			synchronize[i]();
			if (!end[i]()) {
				printf("%s: synchronize_rcu returned before its reader left\n", names[i]);
				return 1;
			}
		}
	}
	return 0;
}

sem_t being_loaded;
static void (*enroll)(void), (*leave)(void), (*synchronize_memb)(void);

static void *registers(void *unused)
{
	sem_wait(&being_loaded);
	enroll();
	leave();
	return unused;
}

static void *waits(void *unused)
{
	sem_wait(&being_loaded);
	synchronize_memb();
	return unused;
}

/*
 * A plugin that is being relocated for long. Alone: its copy is the only one that this program's call could reach. With others
 * after it: this program's call asks for the system's memb, which the loader has no time for; their readers do not wait for that.
 */
static int visit_slow(char *const names[], int count)
{
	pthread_t thread;

	enroll = (void (*)(void))dlsym(RTLD_DEFAULT, "urcu_qsbr_register_thread"); /* ours */
	leave = (void (*)(void))dlsym(RTLD_DEFAULT, "urcu_qsbr_unregister_thread");
	synchronize_memb = (void (*)(void))dlsym(RTLD_DEFAULT, "urcu_memb_synchronize_rcu");
	sem_init(&being_loaded, 0, 0);
	if (pthread_create(&thread, NULL, count ? waits : registers, NULL))
		return 1;
	if (!dlopen(GUESTS "slow.so", RTLD_NOW | RTLD_LOCAL)) {
		printf("%s\n", dlerror());
		return 1;
	}
	return visit(names, count) || pthread_join(thread, NULL);
}

int main(void)
{
	static char *const cases[][MOST] = {
		{"urcu"}, {"memb"}, {"qsbr"}, {"urcu", "memb"}, {"memb", "urcu"}, {"memb", "qsbr", "urcu"},
		{"slow"}, {"slow", "urcu", "memb"},
	};
	int failed = 0;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int count = 0, status;
		while (count < MOST && cases[i][count])
			count++;
		fflush(stdout);
		pid_t child = fork();
		if (child == 0) {
			alarm(30); /* it hung */
			bool slow = !strcmp(cases[i][0], "slow");
			int result = slow ? visit_slow(cases[i] + 1, count - 1) : visit(cases[i], count);
			fflush(stdout);
			_exit(result);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status) {
			printf("failed:");
			for (int k = 0; k < count; k++)
				printf(" %s", cases[i][k]);
			printf(": status %#x\n", status);
			failed = 1;
		}
	}
	return failed;
}
