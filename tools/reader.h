/*
 * The reader: a process's memory on qslab, as plain numbers. It knows the published segment (qslab/segment.h) and
 * nothing else of the library, believes no pointer, and stops nobody.
 *
 *     struct failure why;
 *     struct reader *reader = reader_open_process(pid, &why);      or reader_open_core(path, &why)
 *     struct snapshot *snapshot = reader_snapshot(reader, SNAPSHOT_MEMORY, &why);   as often as you like
 *     ...
 *     snapshot_free(snapshot);
 *     reader_close(reader);
 *
 * NULL means failure, and why.text is one line for people. A snapshot of a process that runs is taken in a few
 * milliseconds, each slab at one moment, different slabs at different moments. An object on its way from one place to
 * another meanwhile may be seen in both, and is counted once, where it was seen first in the order of `enum place`
 * from FREE on; `doubts` lists it. So within a snapshot these hold always, by construction:
 *
 *     per slab and per class    objects == sum of count[]
 *     allocator                 its classes' figures are the sums of its slabs'
 *
 * and what they cannot hide, a process whose own data contradict each other, stands in `doubts` and in the slabs'
 * nfree and announced; check.c decides by reading again. (An object in a magazine or array whose slab says that it is
 * free is looked at once more before it is doubted: nearly always it has come back meanwhile. So are two slabs that do
 * not seem to be neighbours in their list.)
 */
#ifndef QSLAB_TOOLS_READER_H
#define QSLAB_TOOLS_READER_H

#include "source.h"

#include <qslab/segment.h>

/* Where an object is. LIVE: the program has it, or it is on its way. */
enum place { LIVE, FREE, REMOTE, MAGAZINE, WAITING, READY, PLACES };

struct slab_view {
	uint64_t address;            /* of its span */
	uint64_t first;              /* of its first object */
	uint64_t descriptor, heap;   /* addresses */
	uint64_t next, prev;         /* of its bin's list */
	uint32_t size;               /* of an object */
	uint32_t born;               /* second of CLOCK_MONOTONIC */
	uint32_t nfree, announced;   /* as the process counts */
	uint16_t objects, words, pages, class;
	uint16_t count[PLACES];
	bool torn;                   /* no consistent state could be had: its figures are approximate */
	bool overlap;                /* some object was both free and remote */
	bool stray_bits;             /* some bit beyond the last object was set */
	uint16_t resident;           /* pages; SNAPSHOT_MEMORY */
	uint64_t resident_pages[4];  /* bit p: page p is resident */
	uint32_t resident_bytes[PLACES]; /* of its objects, by place */
	uint64_t *live;              /* bit i: object i is live */
	uint64_t *listed;            /* bit i: object i was found in a magazine or array */
};

#define NAME_SIZE 96                 /* 31 bytes, each of which may become U+FFFD, of three */

struct class_view {
	uint32_t size;               /* 0: no such class, or the class of large objects */
	uint16_t pages, objects, capacity; /* of a slab, of a slab, of a magazine */
	bool own;                    /* a cache's, alone */
	char name[NAME_SIZE];        /* of a cache of this class, the latest made, as UTF-8; "": none */
	uint64_t slabs, total;       /* total: objects in all slabs */
	uint64_t count[PLACES];
	uint64_t resident;           /* bytes of its slabs' pages; SNAPSHOT_MEMORY */
	uint64_t resident_bytes[PLACES];
};

struct large_view {
	uint64_t address, descriptor;
	uint64_t size, pages;        /* usable bytes; pages of the span */
	enum place place;            /* LIVE, WAITING or READY */
	uint64_t resident;           /* bytes, of the object; SNAPSHOT_MEMORY */
	uint64_t slack;              /* resident bytes of the rest of the span */
};

/* A free span kept for reuse. */
struct span_view {
	uint64_t address, pages;
	uint64_t resident; /* bytes */
};

struct heap_view {
	uint64_t address;
	bool owned;                  /* by a thread that runs */
	int tid;                     /* of that thread */
	uint64_t slabs, live;        /* its slabs; live objects in them */
	uint64_t objects, bytes;     /* in its magazines */
};

struct reader_view {
	int tid;
	bool online;                 /* may hold pointers */
	bool holds_up;               /* has not been quiescent since the grace period in flight began */
};

struct rcu_view {
	uint64_t started, completed, wanted;
	int64_t age;                 /* of the grace period in flight, ns; -1: none is, or not known */
	uint64_t waiting, waiting_bytes;     /* objects that wait for a grace period */
	uint64_t over, over_bytes;   /* of these: theirs is over, they have not been taken up yet */
	uint64_t chained;            /* of waiting: linked, in no array */
	uint64_t ready, ready_bytes; /* free again, kept in arrays */
	uint64_t oldest;             /* the lowest cookie anything waits for; 0: nothing does */
	uint64_t retired, reclaimed; /* objects, ever */
	uint64_t exchanged, flushed; /* arrays that became magazines; objects that went back to slabs */
	uint64_t peak_bytes, over_hard, stalls;
	uint64_t deferrers;
	struct reader_view *readers;
	size_t reader_count;
};

/* A sampled object of the heap profile; SNAPSHOT_PROFILE. */
struct sample_view {
	uint64_t object;             /* address of a large object; of `larges`, unless it came since */
	uint64_t shadow;             /* the object of a slab that it stands for; 0: none */
	uint64_t size;               /* of its class; of a large object its own */
	enum place place;            /* LIVE, WAITING or READY */
	double weight;               /* it stands for so many objects */
	const uint64_t *stack;       /* return addresses, innermost first; in stack_words */
	size_t depth;
};

/* Something seen that cannot be: transient in a process that runs, or an error in it. */
struct doubt {
	enum { DOUBT_TWICE, DOUBT_NO_OBJECT, DOUBT_WRONG_CLASS, DOUBT_COUNT, DOUBT_LIST } kind;
	uint64_t address;            /* of the object, or of what the text speaks of */
	char text[120];
};

struct span_counters {
	uint64_t cached, dirty, live, credit, purged; /* as the process counts */
	uint64_t seen;               /* bytes of the spans in `spans` */
	bool stable;                 /* the cache was at rest: cached and seen are of one moment */
};

/* One copy of the library in the process. */
struct allocator {
	uint64_t segment_address;
	struct qslab_segment segment;
	uint64_t region_base, region_size; /* 0: nothing was ever allocated */
	struct class_view *classes;  /* by class number */
	size_t class_count;
	struct slab_view *slabs;     /* by address */
	size_t slab_count;
	struct large_view *larges;   /* by address */
	size_t large_count;
	uint64_t large_bytes_counted; /* as the process counts */
	struct span_view *spans;
	size_t span_count;
	struct span_counters span_counters;
	struct heap_view *heaps;     /* the latest made first */
	size_t heap_count;
	struct rcu_view rcu;
	uint64_t stock;              /* bytes in ready arrays, as the process counts */
	uint64_t profile_rate;       /* bytes to a sample; 0: none are taken. segment.profile.rate 0: no profile */
	uint64_t samples_lost;
	struct sample_view *samples;
	size_t sample_count;
	uint64_t *stack_words;
	struct doubt *doubts;
	size_t doubt_count;
	size_t torn;                 /* slabs, and lists, that would not stand still */
};

/* What resident memory is. Up to KIND_SEGMENT it is qslab's. */
enum kind {
	KIND_LIVE, KIND_LIVE_LARGE, KIND_WAITING, KIND_MAGAZINES, KIND_READY, KIND_REMOTE, KIND_FREE, KIND_SLAB_HEADS,
	KIND_HELD, KIND_LARGE_SLACK, KIND_SPAN_CACHE, KIND_SOURCE_FREE, KIND_PAGE_MAP, KIND_DESCRIPTORS, KIND_SOURCE_OWN,
	KIND_SEGMENT, KIND_FILES, KIND_STACKS, KIND_BRK, KIND_ANONYMOUS, KINDS
};

struct memory_view {
	uint64_t resident[KINDS];    /* bytes */
	uint64_t rss;                /* between the kernel's figures before and after: what is nearest to explained */
	uint64_t moved;              /* bytes by which it changed meanwhile, at the best of several tries */
	uint64_t explained;          /* sum of resident[]; of a process that runs it may be a little above rss */
	bool changing;               /* or much above: memory was given back while it was read, at each of several tries */
	uint64_t lazy_free, huge, swap;
	uint64_t address_space;      /* bytes of the regions */
};

/* RSS moved by so much that the parts are approximate. */
static inline bool memory_moved(const struct memory_view *memory)
{
	return memory->moved > memory->rss / 50;
}

struct snapshot {
	int pid;                     /* 0: not known */
	char command[64];            /* the program's, as it calls itself; "": not known */
	bool live;                   /* not a core file */
	bool memory_known;           /* SNAPSHOT_MEMORY */
	int64_t now;                 /* nanosecond of CLOCK_MONOTONIC; 0: not known */
	struct allocator *allocators; /* those that were used; if none was, one */
	size_t allocator_count;
	struct memory_view memory;
};

struct reader;

struct reader *reader_open_process(int pid, struct failure *why);
struct reader *reader_open_core(const char *path, struct failure *why);
void reader_close(struct reader *reader);

/* Where files are mapped, without what is resident. False: it has ended. */
bool reader_map(struct reader *reader, struct mappings *mappings);

/* A core file that ends before what its headers promise? */
bool reader_is_cut(const struct reader *reader);

/* "process 12", or the core file's name. */
const char *reader_name(const struct reader *reader);

enum {
	SNAPSHOT_MEMORY = 1,         /* also what is resident: reads smaps and pagemap, milliseconds for big processes */
	SNAPSHOT_PROFILE = 2,        /* also the samples of the heap profile */
	SNAPSHOT_LISTS = 4,          /* also whether slabs' lists hold together, in `doubts` */
};
struct snapshot *reader_snapshot(struct reader *reader, unsigned what, struct failure *why);
void snapshot_free(struct snapshot *snapshot);

/* Names, as keys of JSON and labels, and for people. */
const char *place_key(enum place place);
const char *kind_key(enum kind kind);
const char *kind_text(enum kind kind);

/* The slab, or large object, that an address lies in; NULL: none. */
const struct slab_view *allocator_slab(const struct allocator *allocator, uint64_t address);
const struct large_view *allocator_large(const struct allocator *allocator, uint64_t address);

#endif
