#define _GNU_SOURCE
#include "segment.h"
#include "layout.h"
#include "region.h"

#include <qslab/qslab.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SEGMENT_BYTES ALIGN_UP(sizeof(struct qslab_segment), PAGE_SIZE)

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define TEXT_OF(number) #number
#define RELEASE(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

struct qslab_segment *segment;

/*
 * Private, so that a forked child has its own; of a file, so that it has a name everywhere; written to, so that core
 * files hold it.
 */
static void *map_segment(void)
{
	int fd = memfd_create(QSLAB_SEGMENT_NAME, MFD_CLOEXEC);
	if (fd >= 0) {
		void *mapped = ftruncate(fd, SEGMENT_BYTES) ? MAP_FAILED :
			mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		close(fd);
		if (mapped != MAP_FAILED)
			return mapped;
	}
	void *mapped = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapped == MAP_FAILED)
		return NULL;
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapped, SEGMENT_BYTES, QSLAB_SEGMENT_NAME);
	return mapped;
}

static void publish_region(struct qslab_segment_region *out)
{
	*out = (struct qslab_segment_region){
		.address = (uintptr_t)&region,
		.base = PUBLISH(struct region, base, 8),
		.map = PUBLISH(struct region, map, 8),
		.size = PUBLISH(struct region, size, 8),
		.held = PUBLISH(struct region, held, 8),
		.map_size = PUBLISH(struct region, map_size, 8),
	};
}

static void publish_classes(struct qslab_segment_classes *out)
{
	*out = (struct qslab_segment_classes){
		.table = (uintptr_t)classes,
		.stride = sizeof classes[0],
		.count = CLASS_LIMIT,
		.large = CLASS_LARGE,
		.size = PUBLISH(struct class_info, size, 4),
		.objects = PUBLISH(struct class_info, objects, 2),
		.pages = PUBLISH(struct class_info, pages, 2),
		.words = PUBLISH(struct class_info, words, 2),
		.capacity = PUBLISH(struct class_info, capacity, 2),
		.own = CLASS_OWN,
		.end = PUBLISH_WORD(class_end, 4),
	};
}

static void publish_slab(struct qslab_segment_slab *out)
{
	*out = (struct qslab_segment_slab){
		.first = PUBLISH(struct slab, first, 8),
		.size = PUBLISH(struct slab, size, 4),
		.objects = PUBLISH(struct slab, objects, 2),
		.words = PUBLISH(struct slab, words, 2),
		.klass = PUBLISH(struct slab, class, 1),
		.nfree = PUBLISH(struct slab, nfree, 4),
		.announced = PUBLISH(struct slab, announced, 4),
		.heap = PUBLISH(struct slab, heap, 8),
		.next = PUBLISH(struct slab, next, 8),
		.prev = PUBLISH(struct slab, prev, 8),
		.born = PUBLISH(struct slab, born, 4),
		.remote = PUBLISH(struct slab, remote[0], 8),
	};
}

/* What the header says of entries and of free[] in words, tied to the code. */
static void check_formats(void)
{
	uint64_t entry = entry_make(77, 200, (void *)0x123456789ac0);

	assert(QSLAB_ENTRY_CLASS(entry) == entry_class(entry) && QSLAB_ENTRY_CLASS(entry) == 77);
	assert(QSLAB_ENTRY_TO_END(entry) == 200);
	assert(QSLAB_ENTRY_DESCRIPTOR(entry) == (uintptr_t)entry_descriptor(entry));
	assert(slab_free_offset(9) == ((offsetof(struct slab, remote) + 9 * 8 + 63) & ~(size_t)63));
	(void)entry;
}

void segment_init(void)
{
	struct timespec now;
	struct qslab_segment *made = segment ? NULL : map_segment();

	if (!made)
		return;
	check_formats();
	clock_gettime(CLOCK_MONOTONIC, &now);
	made->version = QSLAB_SEGMENT_VERSION;
	made->size = sizeof *made;
	made->pid = (uint32_t)getpid();
	made->page_size = PAGE_SIZE;
	made->started = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	strcpy(made->release, RELEASE(QSLAB_VERSION_MAJOR, QSLAB_VERSION_MINOR, QSLAB_VERSION_PATCH));
	publish_region(&made->region);
	publish_classes(&made->classes);
	publish_slab(&made->slab);
	cache_publish(&made->caches);
	heap_publish(&made->heaps);
	large_publish(&made->large);
	span_publish(&made->spans);
	meta_publish(&made->meta);
	kept_publish(&made->held);
	harden_publish(&made->quarantine);
	debug_publish(&made->quarantine);
	profile_publish(&made->profile);
#ifdef QSLAB_JEMALLOC_PRIVATE
	source_publish(&made->meta);
#endif
	__atomic_store_n(&made->magic, QSLAB_SEGMENT_MAGIC, __ATOMIC_RELEASE);
	segment = made;
}

void segment_after_fork(void)
{
	if (segment)
		segment->pid = (uint32_t)getpid();
}
