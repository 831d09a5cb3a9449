/*
 * Plugins that bring a liburcu of their own, which nobody else sees: what they register with is what they wait for, whatever
 * other copies there are, and however they were loaded. liburcu.so is memb by another name.
 */
#include <dlfcn.h>
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

int main(void)
{
	static char *const cases[][MOST] = {
		{"urcu"}, {"memb"}, {"qsbr"}, {"urcu", "memb"}, {"memb", "urcu"}, {"memb", "qsbr", "urcu"},
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
			int result = visit(cases[i], count);
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
