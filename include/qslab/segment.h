/*
 * qslab/segment.h: what a process on qslab publishes about its memory, for tools that look from outside.
 *
 * Each copy of the library in a process has one `struct qslab_segment` in a mapping of its own, named "qslab-segment":
 * in /proc/PID/maps it is /memfd:qslab-segment, or [anon:qslab-segment] where the process could have no memfd. A core
 * file holds it too. The struct is written once, before main, and says where everything else is: addresses of words,
 * and offsets of fields inside structs, all of them of the process's own memory. Publishing costs the process nothing
 * while it runs. A forked child inherits the segment and sets `pid`; a process made by a bare clone does not.
 *
 * How to read. process_vm_readv, or a core file's PT_LOAD. The process runs on meanwhile and is never stopped, so
 * every reader must expect torn reads, and must believe no pointer and no count:
 *
 *   - The page map says what is where; its entries are written before an object of the span is given out and after the
 *     last has come back. Read an entry, the descriptor it names, and the entry again: equal entries, whose class and
 *     address fit the descriptor, mean that the descriptor was that span's all the time.
 *   - A slab's bitmaps and counts change under its heap's lock: lock, slab, slab, lock read in one call of
 *     process_vm_readv, with both locks 0 and both slabs the same, are one consistent state. Where a lock stays taken,
 *     its holder has been put to sleep by the system: try again later.
 *   - Magazines and pending arrays change with no lock, by their thread alone: entries above `top` are stale, those
 *     below are true as of a moment between two equal reads of `top`. Of an object seen in two places, one is past.
 *   - Lists may change under the reader: bound every walk, and start again when it ends where no list may.
 *
 * Counting, of any consistent state (the library keeps these; `qslab check` verifies them):
 *
 *     per slab   objects = live + free + remote + in magazines + waiting for a grace period + ready
 *                popcount(free bitmap) == nfree;  popcount(remote bitmap) <= announced;  free & remote == 0
 *                every page of the slab has an entry of its class and descriptor; the last one has 1 page to the end
 *     deferrer   sealed_objects + pending entries - reclaimed = objects in its pending and sealed arrays
 *     span cache sum of the spans in bins == cached
 *
 * Versions: readers refuse a `version` they do not know; it changes when a field changes its meaning or place. Fields
 * may be added at the end: `size` says which are there. Offsets and strides are in bytes; integers have the width
 * stated, addresses 64 bits, in the process's byte order.
 */
#ifndef QSLAB_SEGMENT_H
#define QSLAB_SEGMENT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QSLAB_SEGMENT_NAME "qslab-segment"
#define QSLAB_SEGMENT_MAGIC 0x4d474553424c5351ull /* in little-endian memory: "QSLBSEGM" */
#define QSLAB_SEGMENT_VERSION 3

/*
 * The page map: one 64-bit entry a page, from the region's base on.
 *
 *     class    bits 0..7     0: no object; the large class (classes.large); else a slab's class
 *     to end   bits 12..19   slabs: pages from this page's start to the slab's end
 *     address  bits 20..63   descriptor address / 64
 *
 * Every page of a slab has an entry. A large object has one on its first page, and a few more. An entry of class 0
 * that is not 0 belongs to the span cache (struct qslab_segment_spans).
 */
#define QSLAB_ENTRY_CLASS(entry) ((unsigned)((entry) & 0xff))
#define QSLAB_ENTRY_TO_END(entry) ((unsigned)((entry) >> 12 & 0xff))
#define QSLAB_ENTRY_DESCRIPTOR(entry) ((entry) >> 20 << 6)

struct qslab_segment_region {
	uint64_t address;            /* of the struct */
	uint32_t base, map;          /* u64: first address; of the page map. 0 before the first allocation */
	uint32_t size, held;         /* u64: bytes from base on that are in use; of these, ours */
	uint32_t map_size;           /* u64: bytes of page map that are mapped; 0: as many as `size` needs */
	uint32_t reserved;
};

/*
 * Class c stands at table + c * stride. Size 0: there is no such class (yet). Those from `own` on belong to
 * one cache each; a class whose cache is destroyed may be another's later, of another size.
 */
struct qslab_segment_classes {
	uint64_t table;
	uint32_t stride, count;      /* count: classes 0 to count - 1, `large` among them */
	uint32_t large;              /* the class of objects with a span of their own; its size is 0 */
	uint32_t size;               /* u32: bytes of an object */
	uint32_t objects, pages;     /* u16: of a slab */
	uint32_t words, capacity;    /* u16: 64-bit words of a slab's bitmap; slots of a magazine */
	uint32_t own;                /* classes from here on belong to one cache each, as long as it lives */
	uint64_t end;                /* address of a u32: no class from there on was ever used, `large` apart */
};

/* Named caches. Several may share a class below classes.own. */
struct qslab_segment_caches {
	uint64_t first;              /* address of the pointer to the first */
	uint32_t next;               /* u64 */
	uint32_t name;               /* 32 bytes, ended by 0 */
	uint32_t klass;              /* u32; 0: it is being destroyed */
	uint32_t object_size;        /* u64: as asked for */
};

/*
 * Objects are first + i * size for i < objects; the span ends where the last object does, what does not fill one lies
 * before the first. Bit i of word i / 64 is object i. remote[words] stands at `remote`; free[words] at the next
 * multiple of 64 bytes after it.
 */
struct qslab_segment_slab {
	uint32_t first;              /* u64 */
	uint32_t size;               /* u32 */
	uint32_t objects, words;     /* u16 */
	uint32_t klass;              /* u8 */
	uint32_t nfree, announced;   /* u32: free; freed by other threads and not taken in */
	uint32_t heap;               /* u64: its heap */
	uint32_t next, prev;         /* u64: in its bin's list, partial if nfree > 0, else full */
	uint32_t born;               /* u32: second of CLOCK_MONOTONIC when it was made */
	uint32_t remote;
};

struct qslab_segment_heaps {
	uint64_t first;              /* address of the pointer to the first heap */
	uint64_t stock;              /* address of a u64: bytes in ready arrays */
	uint32_t size;               /* of a heap */
	uint32_t next;               /* u64 */
	uint32_t lock;               /* u32: 0 if nobody changes the heap's slabs */
	uint32_t state;              /* u32: 1 a thread runs on it, 2 its thread is gone */
	uint32_t tid, reserved;      /* u32: of its thread; 0: it is gone */
	uint32_t notify;             /* u64: first slab with remote frees to take in */
	uint32_t magazines, magazine_stride; /* one for each class */
	uint32_t top, slots;         /* u64, in a magazine: objects are the words at slots + 8 .. top; slots 0: none */
	uint32_t bins, bin_stride;   /* one for each class below classes.own */
	uint32_t own_bins;           /* u64s: addresses of the others' bins, 0 if there is none; from classes.own on */
	uint32_t partial, full, kept; /* u64, in a bin: lists of slabs; a slab that is kept all free */
};

/* The descriptor behind a page map entry of class `classes.large`. */
struct qslab_segment_large {
	uint64_t first;              /* address of the pointer to the first descriptor */
	uint64_t bytes;              /* address of a u64: sum of sizes */
	uint64_t lock;               /* address of a u32 */
	uint32_t start;              /* u64: first address of the span, and of the object */
	uint32_t pages, size;        /* u64: pages of the span; usable bytes, the rest of the span is for growth */
	uint32_t next;               /* u64 */
};

/*
 * Addresses of words. bins: `count` u64s, by pages: page number + 1 of the first free span, 0 for none; the span's
 * first page map entry has that of the next in bits 16..63, class 0. `waiting` is such a list of longer spans, whose
 * second entry has the number of pages in bits 16..63.
 * A page map entry of class 0 with QSLAB_ENTRY_SOURCE_OWN starts a block that the span source keeps its own metadata
 * in; bits 16..63 are its pages.
 */
struct qslab_segment_spans {
	uint64_t lock;               /* u32 */
	uint64_t bins;
	uint64_t waiting;            /* u64 */
	uint64_t cached;             /* u64: bytes in bins */
	uint64_t dirty;              /* u64: bytes free in the source that may be resident */
	uint64_t live;               /* u64: bytes handed out */
	uint64_t credit;             /* u64: bytes allowed to stay, above the least (alloc/span.h) */
	uint64_t purged;             /* u64: bytes given back to the system so far */
	uint32_t count;
	uint32_t reserved;
};
#define QSLAB_ENTRY_SOURCE_OWN ((uint64_t)1 << 9)
#define QSLAB_ENTRY_LINK(entry) ((entry) >> 16)

/* Memory of descriptors, magazines and the like: a list of chunks, never taken back. And the span source's own. */
struct qslab_segment_meta {
	uint64_t first;              /* address of the pointer to the first chunk */
	uint32_t next, size;         /* u64, in a chunk: the next; its bytes, from the chunk's own address */
	uint64_t source;             /* address of `source_count` pairs of u64: start, bytes (0: none). 0: not known */
	uint32_t source_count;
	uint32_t reserved;
};

/* ---- deferred free: all addresses are 0 where the library has none ---------------------------------------- */

/* Of an array: objects are slots[first + 1 .. count] (u64s from `slots` on). */
struct qslab_segment_array {
	uint32_t next;               /* u64 */
	uint32_t cookie;             /* u64: free when the grace period of that number is completed */
	uint32_t bytes;              /* u64 */
	uint32_t first, count;       /* u32 */
	uint32_t slots;
};

struct qslab_segment_deferrers {
	uint64_t first;              /* address of the pointer to the first */
	uint32_t size;
	uint32_t next;               /* u64 */
	uint32_t lock, state;        /* u32; state: 1 a thread runs on it, 2 its thread is gone */
	uint32_t pending, pending_stride; /* one for each class */
	uint32_t top, array;         /* u64, in a pending: entries are slots[array's first + 1] .. top; array 0: none */
	uint32_t queues, queue_stride;    /* one for each class below classes.own */
	uint32_t own_queues;         /* u64s: addresses of the others' queues, 0 if there is none; from classes.own on */
	uint32_t head, ready, surplus;    /* u64, in a queue: lists of arrays: sealed, oldest first; free again, two lists */
	uint32_t arrays;             /* u32: in the three lists */
	uint32_t sealed;             /* u64: arrays sealed so far */
	uint32_t sealed_objects, reclaimed; /* u64: objects ever sealed; ever free again */
	uint32_t exchanged, flushed; /* u64: arrays that became magazines; objects that went back to slabs */
};

/* Objects linked through a pointer inside them; addresses of words. */
struct qslab_segment_chain {
	uint64_t lock;               /* u32: guards all but incoming */
	uint64_t incoming, ripening; /* u64: the first link; each link is the address of the next */
	uint64_t cookie, bytes;      /* u64: of ripening */
	uint64_t retired, reclaimed; /* u64: objects taken from incoming ever; freed ever */
};

/* Spans that nothing in the page map knows, until they are given back. */
struct qslab_segment_held {
	uint64_t graves;             /* address of the pointer to the first dead slab that waits for a grace period; by next */
	uint64_t samples;            /* address of `sample_count` u64s: descriptors of large objects that are protected, or 0 */
	uint32_t sample_count;
	uint32_t reserved;
};

struct qslab_segment_grace {
	uint64_t address;            /* of the struct */
	uint32_t started, completed; /* u64: completed <= started <= completed + 1 */
	uint32_t began;              /* i64: nanosecond of CLOCK_MONOTONIC when `started` last changed */
	uint32_t wanted;             /* u64: the number up to which someone asked */
	uint64_t bytes, peak;        /* addresses of u64s: bytes in sealed arrays and in ripening; the most so far */
	uint64_t over_hard, stalls;  /* addresses of u64s: crossings of the hard limit; reports of stalls */
};

/* Registered readers of liburcu-qsbr whose registration was seen: a ring through `first`, which is none itself. */
struct qslab_segment_readers {
	uint64_t first;
	uint64_t global;             /* address of a pointer to liburcu's counter's struct; holds 0 before the first reader */
	uint32_t next;               /* u64 */
	uint32_t qsbr;               /* u64: liburcu's struct of the reader */
	uint32_t tid;                /* u32 */
	uint32_t counter;            /* u64, in liburcu's struct: 0 offline; equal to the global one: quiescent since */
	uint32_t global_counter;     /* u64, in the global struct */
	uint32_t reserved;
};

/*
 * The sampled heap profile. Sample i stands at samples + i * stride, for i < used; one whose `object` is 0 is free.
 * `object` is the address of a large object. If it stands for one of a size class, `shadow` is that one: it is neither
 * free nor in anyone's hands, and keeps its slab as the sampled object would have. It was sampled with a probability
 * of 1 - exp(-size / rate), size being its class's, or its own then. Stack s is 8-byte words from stacks + 8 * s on: in
 * the first one's upper half the number of frames, then their return addresses, innermost first.
 */
struct qslab_segment_profile {
	uint64_t rate;               /* address of a u64: bytes to a sample, 0: none; it may be written. 0: no profile */
	uint64_t samples;            /* address of the first */
	uint64_t used, lost;         /* addresses of u64s: samples ever used; those there was no room for */
	uint64_t stacks;             /* 0: none are kept */
	uint64_t stacks_used;        /* address of a u64: words */
	uint64_t code;               /* an address in the library's code: all of its file's, or QSLAB_CODE_SECTION there */
	uint32_t stride;
	uint32_t object, shadow;     /* u64, in a sample */
	uint32_t sample_rate, sample_size; /* u64 */
	uint32_t stack, klass;       /* u32; stack: 0: not known. klass: classes.large: it stands for itself */
	uint32_t returns;            /* u64, in a heap: address of a second list of magazines, for frees; 0: none */
};

/* Free objects that the hardened mode, or the debug mode, keeps from use for a while. */
struct qslab_segment_quarantine {
	uint64_t objects;            /* address of the first of `count` u64s: each an object; 0 or 1: none. 0: neither mode */
	uint32_t count;
	uint32_t stride;             /* bytes from one to the next; 0: 8 */
};

/* ELF section of the library's code in a program, or another library, that it is linked into statically. */
#define QSLAB_CODE_SECTION "qslab_text"

struct qslab_segment {
	uint64_t magic;              /* QSLAB_SEGMENT_MAGIC, written last */
	uint32_t version, size;      /* QSLAB_SEGMENT_VERSION; bytes of this struct */
	uint32_t pid;                /* as the process itself knows it: in its own pid namespace */
	uint32_t page_size;
	int64_t started;             /* nanosecond of CLOCK_MONOTONIC when the library was loaded */
	char release[16];            /* of the library: "0.1.0" */
	struct qslab_segment_region region;
	struct qslab_segment_classes classes;
	struct qslab_segment_caches caches;
	struct qslab_segment_slab slab;
	struct qslab_segment_heaps heaps;
	struct qslab_segment_large large;
	struct qslab_segment_spans spans;
	struct qslab_segment_meta meta;
	struct qslab_segment_array array;
	struct qslab_segment_deferrers deferrers;
	struct qslab_segment_chain chain;
	struct qslab_segment_held held;
	struct qslab_segment_grace grace;
	struct qslab_segment_readers readers;
	struct qslab_segment_profile profile;
	struct qslab_segment_quarantine quarantine;
};

#ifdef __cplusplus
}
#endif
#endif
