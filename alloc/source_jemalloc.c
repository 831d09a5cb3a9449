/*
 * jemalloc as a span source: one explicit arena whose extents come from the region. The only file that
 * knows jemalloc. Decay is off: span.c decides when free pages go back, and purges all of them at once.
 */
#define _GNU_SOURCE
#ifdef QSLAB_JEMALLOC_PRIVATE
#define mallocx qslab_je_mallocx
#define sdallocx qslab_je_sdallocx
#define nallocx qslab_je_nallocx
#define xallocx qslab_je_xallocx
#define mallctl qslab_je_mallctl
#define malloc_conf qslab_je_malloc_conf
#define malloc_conf_2_conf_harder qslab_je_malloc_conf_2_conf_harder
#endif
#include <jemalloc/jemalloc.h>

#include "region.h"
#include "source.h"

#include <stdio.h>

#ifdef QSLAB_JEMALLOC_PRIVATE
/*
 * Its only settings (private_jemalloc.c).
 * retain:false: extents from two calls of the alloc hook merge, so growth and large blocks find room; the
 * dalloc hook refuses, so they are kept all the same. lg_extent_max_active_fit: small spans may come from
 * large dirty extents, else those stay dirty beside fresh memory.
 */
extern const char *malloc_conf_2_conf_harder;
const char *malloc_conf_2_conf_harder =
	"narenas:1,tcache:false,background_thread:false,dirty_decay_ms:-1,muzzy_decay_ms:0,"
	"retain:false,lg_extent_max_active_fit:20";

/* jemalloc's own fork handlers would lock in the wrong order (fork.c); ours keep it idle across fork. */
int qslab_je_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int qslab_je_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	(void)prepare, (void)parent, (void)child;
	return 0;
}

/*
 * Its list of threads, though, runs through their thread-local memory, and they enter and leave it beside the gate, at
 * their ends. In the child it must begin anew: the memory of threads that are gone becomes that of new ones.
 */
extern _Thread_local char qslab_je_je_tsd_tls[];
void qslab_je_je_tsd_postfork_child(void *thread);
#endif

void source_jemalloc_after_fork(void)
{
#ifdef QSLAB_JEMALLOC_PRIVATE
	qslab_je_je_tsd_postfork_child(qslab_je_je_tsd_tls);
#endif
}

#define SPAN_LEAST_PAGES 4 /* below 16 KiB jemalloc would use its own slabs */

#define OWN_ALIGNMENT ((size_t)2 << 20) /* of the blocks that jemalloc keeps its metadata in */

/* const after init */
static int flags;
static char purge_name[32], dirty_name[40];
static size_t pad; /* behind each span, a page of nobody's: jemalloc's way to begin at a random cache line, not used here */

static _Thread_local size_t asked __attribute__((tls_model("initial-exec"))); /* alignment, while in je_alloc */

/* ---- how much is dirty ------------------------------------------------------------------------------------------ */

/*
 * With our settings a free extent is dirty until hook_purge has it, and what an allocation takes was dirty but for what
 * hook_alloc and hook_commit gave meanwhile. What is freed counts before it is, what is taken after: never too little.
 * A jemalloc with settings of its own has to be asked, which takes two microseconds, and is now and then.
 */
#ifdef QSLAB_JEMALLOC_PRIVATE
enum { EXACT = true };
#else
enum { EXACT = false };
#endif
#define RECOUNT_LEAST ((size_t)2 << 20) /* bytes freed between two questions */

static _Thread_local size_t fresh __attribute__((tls_model("initial-exec"))); /* bytes given, while taking */
static atomic_size_t uncounted;

static void less_dirty(size_t bytes)
{
	if (EXACT)
		atomic_fetch_sub_explicit(&source_dirty, bytes, relaxed);
}

static void more_dirty(size_t bytes)
{
	atomic_fetch_add_explicit(&source_dirty, bytes, relaxed);
}

static void taken(size_t bytes)
{
	if (fresh < bytes)
		less_dirty(bytes - fresh);
}

static void recount(void)
{
	uint64_t epoch = 1;
	size_t pages = 0, length = sizeof pages;

	store_relaxed(&uncounted, 0);
	mallctl("epoch", NULL, NULL, &epoch, sizeof epoch); /* else the figure is an old one */
	mallctl(dirty_name, &pages, &length, NULL, 0);
	store_relaxed(&source_dirty, pages << PAGE_SHIFT);
}

static void freed(size_t bytes)
{
	if (!EXACT && atomic_fetch_add_explicit(&uncounted, bytes, relaxed) >= RECOUNT_LEAST)
		recount();
}

/* ---- its hooks -------------------------------------------------------------------------------------------------- */

static void *hook_alloc(extent_hooks_t *hooks, void *at, size_t size, size_t alignment, bool *zero,
                        bool *commit, unsigned arena)
{
	(void)hooks, (void)arena;
	void *got = at ? region_grow_at(at, size) ? at : NULL : region_grow(size, alignment);
	if (!got)
		return NULL;
	*zero = *commit = true;
	if (!at && alignment == OWN_ALIGNMENT && asked < alignment) /* not for a span: for itself, for good */
		store_relaxed(&region.map[region_page(got)], ENTRY_SOURCE_OWN | size >> PAGE_SHIFT << 16);
	else
		fresh += size;
	return got;
}

/* True is "no": addresses stay ours, committed, and are purged instead. */
static bool hook_dalloc(extent_hooks_t *hooks, void *start, size_t size, bool committed, unsigned arena)
{
	(void)hooks, (void)start, (void)size, (void)committed, (void)arena;
	return true;
}

static bool hook_commit(extent_hooks_t *hooks, void *start, size_t size, size_t offset, size_t length,
                        unsigned arena)
{
	(void)hooks, (void)start, (void)size, (void)offset, (void)arena;
	fresh += length;
	return false;
}

static bool hook_purge(extent_hooks_t *hooks, void *start, size_t size, size_t offset, size_t length,
                       unsigned arena)
{
	(void)hooks, (void)size, (void)arena;
	region_release((char *)start + offset, length);
	less_dirty(length);
	atomic_fetch_add_explicit(&source_purged, length, relaxed);
	return false;
}

static bool hook_split(extent_hooks_t *hooks, void *start, size_t size, size_t size_a, size_t size_b,
                       bool committed, unsigned arena)
{
	(void)hooks, (void)start, (void)size, (void)size_a, (void)size_b, (void)committed, (void)arena;
	return false;
}

/* Both are free and in nobody else's hands. */
static bool hook_merge(extent_hooks_t *hooks, void *a, size_t size_a, void *b, size_t size_b,
                       bool committed, unsigned arena)
{
	(void)hooks, (void)arena;
	if (!committed)
		region_merge(a, size_a + size_b, b);
	return false;
}

static extent_hooks_t hooks = {
	.alloc = hook_alloc,
	.dalloc = hook_dalloc,
	.commit = hook_commit,
	.decommit = hook_purge, /* jemalloc then tells purged extents from dirty ones, until it commits them: hook_merge */
	.purge_forced = hook_purge,
	.split = hook_split,
	.merge = hook_merge,
};

static bool init(void)
{
	unsigned arena;
	size_t length = sizeof arena, page, page_length = sizeof page;
	extent_hooks_t *ours = &hooks;
	char name[48];

	if (mallctl("arenas.page", &page, &page_length, NULL, 0) || page != PAGE_SIZE || page < system_page)
		return false;
	if (mallctl("arenas.create", &arena, &length, &ours, sizeof ours))
		return false;
	bool padded = false;
	size_t padded_length = sizeof padded;
	mallctl("opt.cache_oblivious", &padded, &padded_length, NULL, 0);
	pad = padded ? PAGE_SIZE : 0;
	snprintf(purge_name, sizeof purge_name, "arena.%u.purge", arena);
	snprintf(dirty_name, sizeof dirty_name, "stats.arenas.%u.pdirty", arena);
	flags = MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE;
	ssize_t never = -1;
	snprintf(name, sizeof name, "arena.%u.dirty_decay_ms", arena);
	if (mallctl(name, NULL, NULL, &never, sizeof never))
		return false;
	ssize_t now = 0;
	snprintf(name, sizeof name, "arena.%u.muzzy_decay_ms", arena);
	return !mallctl(name, NULL, NULL, &now, sizeof now);
}

static size_t bytes_of(size_t pages)
{
	return (pages < SPAN_LEAST_PAGES ? SPAN_LEAST_PAGES : pages) << PAGE_SHIFT;
}

/* What jemalloc takes for so many pages, but for the pad. */
static size_t whole(size_t pages)
{
	return nallocx(bytes_of(pages), flags);
}

static void *je_alloc(size_t pages, size_t alignment, bool zero)
{
	asked = alignment;
	fresh = 0;
	void *span = mallocx(bytes_of(pages), flags | MALLOCX_ALIGN(alignment) | (zero ? MALLOCX_ZERO : 0));
	asked = 0;
	if (span && !region_has(span)) {
		/* in a thread whose own destructor of jemalloc has run, it ignores the arena it is told */
		sdallocx(span, bytes_of(pages), flags);
		return NULL;
	}
	if (span)
		taken(whole(pages) + pad);
	return span;
}

static void je_free(void *start, size_t pages)
{
	size_t size = whole(pages) + pad;

	more_dirty(size);
	sdallocx(start, bytes_of(pages), flags);
	freed(size);
}

static bool je_resize(void *start, size_t pages, size_t new_pages)
{
	size_t size = whole(pages), new_size = whole(new_pages), less = size > new_size ? size - new_size : 0;

	more_dirty(less);
	fresh = 0;
	if (xallocx(start, bytes_of(new_pages), 0, flags) != new_size) {
		less_dirty(less);
		return false;
	}
	if (new_size > size)
		taken(new_size - size);
	freed(less);
	return true;
}

static void je_purge(void)
{
	mallctl(purge_name, NULL, NULL, NULL, 0);
	if (!EXACT)
		recount();
}

const struct span_source source_jemalloc = {
	.name = "jemalloc",
	.init = init,
	.alloc = je_alloc,
	.free = je_free,
	.resize = je_resize,
	.purge = je_purge,
};
