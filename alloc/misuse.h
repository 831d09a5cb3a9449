/* What to say when the program hands in a pointer that is not the start of a live object. */
#ifndef QSLAB_ALLOC_MISUSE_H
#define QSLAB_ALLOC_MISUSE_H

#include "base.h"

/*
 * Each prints one line on stderr, allocating nothing, and aborts. `call` is the name the program used. In the debug
 * mode stacks follow the line: of the call, and of who allocated, and freed or retired, the object.
 */
_Noreturn void misuse_pointer(const char *call, const void *pointer); /* not an object's start */
_Noreturn void misuse_link(const char *call, const void *pointer, size_t offset, size_t size);
_Noreturn void misuse_cache(const char *call, const void *pointer, const char *what);
_Noreturn void misuse_double_free(const char *call, const void *pointer, size_t size);
/* An object that is no longer the program's: `what` is "double free of a" or the like. */
_Noreturn void misuse_ended(const char *call, const void *pointer, size_t size, const char *what);

/* What follows a line that says what it is: what is known of the object there, and the end. */
_Noreturn void misuse_end(const void *pointer);

/* Only prints: after `what`, bytes of the object that were all `value` are not. */
void misuse_print_change(const char *what, const void *object, size_t size, unsigned char value);

#endif
