/* MALLOC_CONF, which is for a jemalloc of the program's own, makes the library neither complain nor print. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	int ends[2], status = 0;
	char printed[400];

	if (count > 1)
		return malloc(100000) == NULL;
	if (pipe(ends))
		return 1;
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		setenv("MALLOC_CONF", "no_such_setting:1,stats_print:true", 1);
		execl("/proc/self/exe", arguments[0], "again", (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	ssize_t length = read(ends[0], printed, sizeof printed);
	if (length > 0)
		fwrite(printed, 1, (size_t)length, stderr);
	return waitpid(child, &status, 0) != child || status || length != 0;
}
