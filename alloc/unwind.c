/*
 * What is kept, and why it is right. A rule depends on the pc and on the bytes and places of its FDE and CIE, on
 * nothing else. A slot keeps the rule, where in the object's sorted table its FDE is, and a proof: a hash of all of
 * these together. Whoever finds a slot hashes anew what it found and what lies in memory now; unless that is the proof,
 * the rule is read again. So one comparison shows that
 *   1. the slot is this pc's;
 *   2. both its words are of one writer, although they are read and written without a lock, in any order;
 *   3. the call frame information is still the one that was read: where an object was unloaded and another one lies at
 *      its place now, rules of unchanged bytes are right for it too, and others are read again.
 * A false proof has a chance of 2^-64. Reading the records is safe: they lie in the object of a return address of this
 * very stack, which cannot be unloaded while it is to be returned to, and are found through that object's own table.
 * _dl_find_object, by which libgcc finds it too, takes no lock and allocates nothing, inside dlopen and dlclose too.
 *
 * What libgcc knows more of, code that registered its own information (JITs), is in no object, and so refused.
 *
 * Loads from the stack. Rules that are exact lead through the very frames that backtrace() would read. Still no stack
 * is read beyond the pages that backtrace() has walked on before, in this thread, and found the same frames: `known`.
 * A thread's first stack, one that is deeper, or on another stack than the last ones, is backtrace()'s.
 */
#define _GNU_SOURCE
#include "unwind.h"
#include "cfi.h"

#include <dlfcn.h>
#include <string.h>

#if defined(__x86_64__) && defined(__LP64__) && defined(DLFO_STRUCT_HAS_EH_DBASE) /* there is _dl_find_object */
#define OWN_WAY 1
#else
#define OWN_WAY 0
#endif

#define OURS_MOST 4 /* frames of this file, and a sanitizer's of backtrace */

struct unwind_counts unwind_counts;

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	if (n)
		atomic_fetch_add_explicit(counter, n, relaxed);
}

/* Without the frames before `pc`, which are ours. */
static int whole(const void *pc, void **frames, int most)
{
	void *all[UNWIND_MOST + OURS_MOST];
	int depth = backtrace(all, most + OURS_MOST), first = 0;

	while (first < depth && all[first] != pc)
		first++;
	count(&unwind_counts.whole, 1);
	if (first == depth)
		return 0;
	depth = depth - first < most ? depth - first : most;
	memcpy(frames, all + first, (size_t)depth * sizeof *frames);
	return depth;
}

#if OWN_WAY

/* ---- rules ------------------------------------------------------------------------------------------------------ */

#define SLOT_BITS 11
#define HEADER_KIND 0x3b031b01 /* version 1; pcrel | sdata4, udata4, datarel | sdata4: what linkers write */

/* .eh_frame_hdr. Const while the object is loaded. */
struct header {
	uint32_t kind;
	int32_t frames;
	uint32_t count;
	struct {
		int32_t pc, fde; /* from the header */
	} table[];           /* by pc */
};

/* Of the last frame that was looked at, in this walk: the next one's often is the same. */
struct object {
	uintptr_t start, end;
	const struct header *header; /* NULL: none, or of another kind */
	const uint8_t *cie;          /* whose hash is this */
	uint64_t cie_hash;
};

/* Any thread, any time: see above. */
static struct {
	_Atomic uint64_t rule; /* and above, where its FDE is in the table */
	_Atomic uint64_t proof;
} slots[(size_t)1 << SLOT_BITS];

static bool find_object(struct object *object, uintptr_t pc)
{
	struct dl_find_object found;

	if (pc - object->start < object->end - object->start)
		return object->header;
	*object = (struct object){0};
	if (_dl_find_object((void *)pc, &found))
		return false;
	object->start = (uintptr_t)found.dlfo_map_start;
	object->end = (uintptr_t)found.dlfo_map_end;
	const struct header *header = found.dlfo_eh_frame;
	if (header && (uintptr_t)header % _Alignof(struct header) == 0 && header->kind == HEADER_KIND)
		object->header = header;
	return object->header;
}

/* Words that differ give hashes that differ, and so do hashes. */
static inline uint64_t mix(uint64_t hash, uint64_t word)
{
	return ((hash << 23 | hash >> 41) ^ word) * 0x9e3779b97f4a7c15;
}

/* A record has 8 bytes or more. */
static uint64_t mix_record(uint64_t hash, const uint8_t *record, size_t size)
{
	const uint8_t *last = record + size - sizeof(uint64_t);
	uint64_t word;

	hash = mix(mix(hash, (uintptr_t)record), size);
	for (; record < last; record += sizeof word) {
		memcpy(&word, record, sizeof word);
		hash = mix(hash, word);
	}
	memcpy(&word, last, sizeof word); /* some of it again, where the size is none of whole words */
	return mix(hash, word);
}

static uint64_t prove(struct object *object, uint64_t slot_rule, uintptr_t pc, const struct cfi_records *records)
{
	if (object->cie != records->cie) {
		object->cie = records->cie;
		object->cie_hash = mix_record(0, records->cie, records->cie_size);
	}
	return mix(mix_record(mix(object->cie_hash, pc), records->fde, records->fde_size), slot_rule);
}

static bool records_at(struct cfi_records *out, const struct object *object, uint64_t at)
{
	const uint8_t *fde = (const uint8_t *)object->header + object->header->table[at].fde;
	return cfi_records(out, fde, (const uint8_t *)object->start, (const uint8_t *)object->end);
}

/* Of the last one in the table that begins at pc or before. */
static bool find_records(struct cfi_records *out, const struct object *object, uintptr_t pc, uint64_t *at)
{
	const struct header *header = object->header;
	uint64_t low = 0, high = header->count;

	while (high > low) {
		uint64_t middle = (low + high) / 2;
		if ((uintptr_t)header + (uintptr_t)(intptr_t)header->table[middle].pc <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	*at = low - 1;
	return low && records_at(out, object, *at);
}

static uint64_t rule_of(struct object *object, uintptr_t pc, uint64_t *found, uint64_t *read)
{
	size_t i = pc * 0x9e3779b97f4a7c15 >> (64 - SLOT_BITS);
	uint64_t rule = load_relaxed(&slots[i].rule), proof = load_relaxed(&slots[i].proof), at = rule >> 32;
	struct cfi_records records;

	if (!find_object(object, pc))
		return CFI_REFUSED;
	if (at < object->header->count && records_at(&records, object, at) && prove(object, rule, pc, &records) == proof) {
		++*found;
		return (uint32_t)rule;
	}
	++*read;
	if (!find_records(&records, object, pc, &at))
		return CFI_REFUSED;
	rule = cfi_rule(&records, pc) | at << 32;
	store_relaxed(&slots[i].rule, rule);
	store_relaxed(&slots[i].proof, prove(object, rule, pc, &records));
	return (uint32_t)rule;
}

/* ---- walks ------------------------------------------------------------------------------------------------------ */

/* A frame: where it will be returned to, and what rsp and rbp will be then. */
struct walk {
	uintptr_t pc, rsp, rbp;
	uintptr_t end; /* no load at or above it */
	struct object object;
	uint64_t found, read;
};

enum step { STEPPED, ENDED, REFUSED };

/* Pages of stack on which this thread's walks agreed with backtrace(); 0 and 0: none yet. */
static _Thread_local struct {
	uintptr_t low, end;
	unsigned strays; /* walks elsewhere since then */
} known __attribute__((tls_model("initial-exec")));

#define STRAYS_MOST 8

/* A return address or saved rbp: of no object, and what AddressSanitizer knows of its place is nothing. */
__attribute__((no_sanitize_address)) static uintptr_t load(uintptr_t address)
{
	return *(const uintptr_t *)address;
}

static enum step step(struct walk *walk)
{
	uint64_t rule = rule_of(&walk->object, walk->pc - 1, &walk->found, &walk->read); /* of the call */

	if (CFI_KIND(rule) == CFI_END)
		return ENDED;
	uintptr_t base = CFI_KIND(rule) == CFI_RSP ? walk->rsp : walk->rbp;
	uintptr_t cfa = base + 8 * CFI_OFFSET(rule), saved = cfa - 8 * CFI_SAVED(rule);
	if (CFI_KIND(rule) == CFI_REFUSED || cfa % 8 || cfa <= walk->rsp || cfa > walk->end || saved < walk->rsp)
		return REFUSED;
	walk->pc = load(cfa - 8);
	if (CFI_SAVED(rule))
		walk->rbp = load(saved);
	walk->rsp = cfa;
	return walk->pc ? STEPPED : ENDED;
}

/* The number of frames; 0: refused. */
static int own(struct walk walk, void **frames, int most)
{
	enum step last = STEPPED;
	int depth = 0;

	if (walk.rsp - known.low >= known.end - known.low)
		return 0;
	walk.end = known.end;
	while (last == STEPPED) {
		frames[depth++] = (void *)walk.pc;
		last = depth < most ? step(&walk) : ENDED;
	}
	count(&unwind_counts.found, walk.found);
	count(&unwind_counts.read, walk.read);
	count(&unwind_counts.own, last == ENDED);
	return last == ENDED ? depth : 0;
}

static void learn(uintptr_t low, uintptr_t end)
{
	low &= ~(PAGE_SIZE - 1);
	end = ALIGN_UP(end, PAGE_SIZE);
	if (low <= known.end && known.low <= end) {
		known.low = low < known.low ? low : known.low;
		known.end = end > known.end ? end : known.end;
	} else if (!known.end || ++known.strays == STRAYS_MOST) {
		known.low = low;
		known.end = end;
	} else {
		return;
	}
	known.strays = 0;
}

/*
 * The frames are backtrace()'s. Each step is taken from a frame it found, to one it found: what is loaded lies between
 * two addresses of the stack it walked on.
 */
static void follow(struct walk walk, void **frames, int depth)
{
	uintptr_t low = walk.rsp;
	int i = 0;

	walk.end = UINTPTR_MAX;
	while (i + 1 < depth && walk.pc == (uintptr_t)frames[i] && step(&walk) == STEPPED)
		i++;
	if (depth && i + 1 == depth && walk.pc == (uintptr_t)frames[i])
		learn(low, walk.rsp);
	count(&unwind_counts.read, walk.read);
}

int unwind_take(void **frames, int most)
{
	void **frame = __builtin_frame_address(0); /* which makes rbp point to the caller's, saved */
	struct walk walk = {.pc = load((uintptr_t)(frame + 1)), .rsp = (uintptr_t)(frame + 2), .rbp = load((uintptr_t)frame)};
	assert(most <= UNWIND_MOST);
	int depth = own(walk, frames, most);

	if (!depth) {
		depth = whole((void *)walk.pc, frames, most);
		follow(walk, frames, depth);
	}
	return depth;
}

#else

int unwind_take(void **frames, int most)
{
	return whole(__builtin_return_address(0), frames, most);
}

#endif
