/*
 * Everything behind the fast paths, and the calls that have none. `call` is the name the program used,
 * for reports of misuse.
 */
#ifndef QSLAB_ALLOC_SLOW_H
#define QSLAB_ALLOC_SLOW_H

#include "base.h"

void *slow_malloc(size_t size) SLOW;
void slow_free(const char *call, void *object) SLOW;
void slow_free_sized(const char *call, void *object, size_t size) SLOW;

/* alignment: a power of two. */
void *aligned_malloc(size_t alignment, size_t size);
void *zeroed_malloc(size_t count, size_t size);
void *resize(const char *call, void *object, size_t size);

/* To a new object of `size` bytes, of which `kept` are copied; the old one is freed. NULL with errno: it is not. */
void *resize_move(const char *call, void *object, size_t size, size_t kept);
size_t usable_size(const char *call, const void *object);
bool trim(void);

#endif
