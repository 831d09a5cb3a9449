/* From any address to the object around it. */
#ifndef QSLAB_ALLOC_OBJECT_H
#define QSLAB_ALLOC_OBJECT_H

#include "base.h"

struct object {
	void *start;
	size_t size;     /* usable */
	unsigned class;
	void *descriptor; /* struct slab or struct large */
};

/* False if no object's usable bytes include the address. Takes no lock. */
bool object_find(const void *address, struct object *object);

#endif
