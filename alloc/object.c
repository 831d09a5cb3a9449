#include "object.h"
#include "harden.h"
#include "large.h"
#include "layout.h"
#include "region.h"

bool object_around(const void *address, struct object *object)
{
	if (!region_has(address))
		return false;
	uint64_t entry = atomic_load_explicit(&region.map[region_page(address)], acquire);
	unsigned class = entry_class(entry);

	if (class_is_slab(class)) {
		struct slab *slab = entry_descriptor(entry);
		unsigned index = slab_index(slab, address);
		if (index >= slab->objects)
			return false;
		*object = (struct object){slab_object(slab, index), slab->size, class, slab};
		if (unlikely(class >= CLASS_OWN) && (classes[class].traits & CLASS_DEFER))
			object->size -= sizeof(void *);
		return true;
	}
	struct large *large = large_find(address);
	if (!large)
		return false;
	*object = (struct object){large_start(large), large_usable(large), CLASS_LARGE, large};
	return true;
}

bool object_find(const void *address, struct object *object)
{
	if (!object_around(address, object))
		return false;
	if (unlikely(hardened) && object->class < CLASS_LARGE)
		object->size = harden_usable(object->start, object->size);
	return true;
}
