#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void report_write(int fd, const char *text, size_t length)
{
	int saved = errno, state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	for (size_t done = 0; done < length;) {
		ssize_t wrote = write(fd, text + done, length - done);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			break; /* nowhere left to say it */
		done += (size_t)wrote;
	}
	pthread_setcancelstate(state, NULL);
	errno = saved;
}

void report_line(const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof line - 2)
		length = (int)sizeof line - 2;
	for (int i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[length] = '\n';
	report_write(STDERR_FILENO, line, (size_t)length + 1);
}
