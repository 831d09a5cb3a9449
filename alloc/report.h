/* Text for people, written without allocating. */
#ifndef QSLAB_ALLOC_REPORT_H
#define QSLAB_ALLOC_REPORT_H

#include "base.h"

/* Writes it all, or as much as the descriptor takes. No cancellation point; errno is kept. Any thread. */
void report_write(int fd, const char *text, size_t length);

/* The same for a formatted line of at most 511 bytes, to stderr: one line, whatever the names in it hold. */
void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
