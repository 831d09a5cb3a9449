#include "slab.h"
#include "guard.h"
#include "harden.h"
#include "meta.h"
#include "misuse.h"
#include "region.h"

#include <errno.h>
#include <sys/sdt.h>

void (*_Atomic slab_undertaker)(struct slab *slab);

void slab_map(struct slab *slab, bool set)
{
	size_t page = region_page(slab_span(slab).start);
	unsigned pages = classes[slab->class].pages;
	for (unsigned turn = 0; turn < pages; turn++) {
		unsigned i = set ? pages - 1 - turn : turn; /* the first comes last, and goes first: a forked child goes by it */
		uint64_t entry = set ? entry_make(slab->class, pages - i, slab) : 0;
		atomic_store_explicit(&region.map[page + i], entry, release); /* pairs with object_find */
	}
}

/* Of the span; the hardened mode adds a guard. */
static size_t span_pages(unsigned class)
{
	return classes[class].pages + (size_t)hardened;
}

/* Every object once; 0, or what the constructor said. */
static int construct(struct slab *slab)
{
	int (*ctor)(void *) = own_class(slab->class)->ctor;
	int error = 0;

	for (unsigned i = 0; ctor && i < slab->objects && !error; i++)
		error = ctor(slab_object(slab, i));
	return error;
}

struct slab *slab_create(unsigned class, struct heap *heap, bool grows)
{
	const struct class_info *info = &classes[class];
	struct slab *slab = span_meta_alloc(slab_descriptor_size(info->words));
	struct span span = {0};
	if (slab)
		span = span_alloc(span_pages(class), PAGE_SIZE, info->traits & CLASS_WIPE);
	if (!span.start) {
		if (slab)
			meta_free(slab, slab_descriptor_size(info->words));
		errno = ENOMEM;
		return NULL;
	}
	if (grows && span.fresh && info->size <= PAGE_SIZE) /* of larger objects some pages may never be touched */
		region_fault_in(span.start, info->pages << PAGE_SHIFT);
	slab->first = (uintptr_t)span.start + (info->pages << PAGE_SHIFT) -
	              (size_t)info->objects * info->size;
	slab->recip = info->recip;
	slab->size = info->size;
	slab->objects = info->objects;
	slab->words = info->words;
	slab->class = (uint8_t)class;
	slab->from_mmap = span.from_mmap;
	slab->born = second_now();
	slab->guarded = hardened ? guard_add(span, span_pages(class)) : GUARD_NONE;
	slab->scan = slab->vacated = 0;
	slab->next = slab->prev = NULL;
	store_relaxed(&slab->nfree, info->objects);
	store_relaxed(&slab->heap, heap);
	store_relaxed(&slab->announced, 0);
	store_relaxed(&slab->moving, false);
	for (unsigned w = 0; w < info->words; w++) {
		unsigned left = info->objects - w * 64;
		store_relaxed(&slab_bits(slab)[w], left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1);
		store_relaxed(&slab->remote[w], 0);
	}
	if (class >= CLASS_OWN) {
		int error = construct(slab);
		if (error) {
			slab_release(slab);
			errno = error;
			return NULL;
		}
		atomic_fetch_add_explicit(&own_class(class)->slabs, 1, relaxed);
	}
	DTRACE_PROBE4(qslab, slab_create, class, slab->first, slab->objects, heap);
	return slab;
}

void slab_release(struct slab *slab)
{
	struct span span = slab_span(slab);
	unsigned class = slab->class;
	bool ours = likely(!slab->guarded) || guard_remove(slab->guarded, span, span_pages(class));

	meta_free(slab, slab_descriptor_size(slab->words));
	if (unlikely(!ours))
		return;
	if (unlikely(hardened) && class >= CLASS_OWN)
		region_purge(span.start, classes[class].pages << PAGE_SHIFT); /* a free span is zero in this mode */
	span_free(span, span_pages(class));
}

void slab_destroy(struct slab *slab)
{
	assert(load_relaxed(&slab->nfree) == slab->objects);
	assert(load_relaxed(&slab->announced) == 0);
	unsigned class = slab->class;
	DTRACE_PROBE2(qslab, slab_destroy, class, slab->first);
	if (unlikely(classes[class].traits & CLASS_TYPESAFE))
		load_relaxed(&slab_undertaker)(slab);
	else
		slab_release(slab);
	if (class >= CLASS_OWN)
		atomic_fetch_sub_explicit(&own_class(class)->slabs, 1, release); /* pairs with cache_is_empty */
}

/* The hardened mode's: each of a random word's. scan stays what it is: a bound from below. */
static unsigned take_random(struct slab *slab, void **end, unsigned want)
{
	unsigned nfree = load_relaxed(&slab->nfree), taken = want < nfree ? want : nfree;

	for (unsigned i = 0; i < taken; i++) {
		unsigned w = (unsigned)harden_random(slab->words);
		while (!load_relaxed(&slab_bits(slab)[w]))
			w = w + 1u < slab->words ? w + 1 : 0;
		uint64_t bits = load_relaxed(&slab_bits(slab)[w]);
		unsigned turn = (unsigned)harden_random(64);
		uint64_t turned = turn ? bits >> turn | bits << (64 - turn) : bits;
		unsigned bit = ((unsigned)__builtin_ctzll(turned) + turn) % 64;
		store_relaxed(&slab_bits(slab)[w], bits & ~((uint64_t)1 << bit));
		*end-- = slab_object(slab, w * 64 + bit);
	}
	store_relaxed(&slab->nfree, nfree - taken);
	return taken;
}

unsigned slab_take(struct slab *slab, void **end, unsigned want)
{
	if (unlikely(hardened))
		return take_random(slab, end, want);
	unsigned nfree = load_relaxed(&slab->nfree);
	unsigned most = want < nfree ? want : nfree;
	void **first = end, **stop = end - most;
	_Atomic uint64_t *free_bits = slab_bits(slab);
	unsigned w = slab->scan;
	size_t size = slab->size;

	for (; end > stop; w++) {
		uint64_t bits = load_relaxed(&free_bits[w]);
		if (!bits)
			continue;
		char *word = slab_object(slab, w * 64);
		if (bits == ~(uint64_t)0) {
			if (end - stop < 64 && want >= 64 && end < first)
				break; /* for the next, which will want all of it */
			if (end - stop >= 64) {
				for (unsigned i = 0; i < 64; i++, word += size)
					*end-- = word;
				bits = 0;
			}
		}
		while (bits && end > stop) {
			*end-- = word + (size_t)__builtin_ctzll(bits) * size;
			bits &= bits - 1;
		}
		store_relaxed(&free_bits[w], bits);
		if (bits)
			break;
	}
	slab->scan = (uint16_t)w;
	unsigned taken = (unsigned)(first - end);
	store_relaxed(&slab->nfree, nfree - taken);
	return taken;
}

bool slab_collect(struct slab *slab)
{
	_Atomic uint64_t *remote = slab->remote;
	unsigned taken = 0;

	for (unsigned w = 0; w < slab->words; w++) {
		if (!load_relaxed(&remote[w]))
			continue;
		uint64_t bits = atomic_exchange_explicit(&remote[w], 0, acq_rel); /* pairs with R2 */
		slab_set_free(slab, &slab_bits(slab)[w], w, bits);
		taken += (unsigned)__builtin_popcountll(bits);
		MARK(collect_word);
	}
	store_relaxed(&slab->nfree, load_relaxed(&slab->nfree) + taken);
	MARK(collect_counted);
	return atomic_fetch_sub_explicit(&slab->announced, taken, acq_rel) > taken && !BROKEN(collect);
}
