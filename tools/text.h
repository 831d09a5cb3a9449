/* Text that is not ours: a process's names, which may be any bytes, and are taken to be UTF-8. */
#ifndef QSLAB_TOOLS_TEXT_H
#define QSLAB_TOOLS_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* As valid UTF-8: U+FFFD for each byte that belongs to no character. As many characters as `size` has room for. */
void text_valid(char *to, size_t size, const char *from);

/* For the terminal, which they must not command: '?' for control characters, and for what is no character. */
void text_printable(char *text);

/* How wide it is, of characters one column wide. */
int text_columns(const char *text);

/* Bytes of as many whole characters, of the locale's, as that many columns of a terminal hold. */
size_t text_fitting(const char *text, int columns);

/* With what XML reserves, and what it cannot hold, replaced. */
void xml_text(FILE *out, const char *text);

#endif
