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

/* False if no object's usable bytes include the address. Takes no lock. In the hardened mode the object must be live. */
bool object_find(const void *address, struct object *object);

/*
 * The same where it need not be: the memory of an object that another thread frees may go meanwhile, and the size in
 * its seal with it (harden.h). `size` is its slot's then.
 */
bool object_around(const void *address, struct object *object);

#endif
