#define _GNU_SOURCE
#include "copies.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* ONGOING is not asked, but tells liburcu from a library of ours, which has the names before it, too. */
enum { ENROLL, LEAVE, SYNCHRONIZE, ONGOING, READER, SYMBOLS };

static const struct {
	const char *library, *symbols[SYMBOLS], *gp, *flavor;
} flavors[COPY_FLAVORS] = {
#define NAMES(flavor) {"urcu_" flavor "_register_thread", "urcu_" flavor "_unregister_thread", \
                       "urcu_" flavor "_synchronize_rcu", "urcu_" flavor "_read_ongoing", "urcu_" flavor "_reader"}, \
                      "urcu_" flavor "_gp", "urcu_" flavor "_flavor"
	[COPY_QSBR] = {"liburcu-qsbr.so.8", NAMES("qsbr")},
	[COPY_MEMB] = {"liburcu-memb.so.8", NAMES("memb")},
	[COPY_MB] = {"liburcu-mb.so.8", NAMES("mb")},
};

/* ---- a loaded object, by its dynamic section --------------------------------------------------------------------- */

struct object {
	uintptr_t base, start, end;
	size_t tls;
	const ElfW(Dyn) *dynamic;
	const ElfW(Sym) *symbols;
	const char *strings, *name; /* name: DT_SONAME, or "" */
	const uint32_t *gnu_hash, *hash;
};

/* glibc has relocated these addresses where it may write them. */
static const void *place(const struct object *object, const ElfW(Dyn) *entry)
{
	return (const void *)(entry->d_un.d_ptr < object->base ? object->base + entry->d_un.d_ptr : entry->d_un.d_ptr);
}

static bool read_object(const struct dl_phdr_info *info, struct object *object)
{
	size_t name = 0;

	*object = (struct object){.base = info->dlpi_addr, .start = UINTPTR_MAX, .tls = info->dlpi_tls_modid, .name = ""};
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = object->base + segment->p_vaddr, end = start + segment->p_memsz;
		if (segment->p_type == PT_DYNAMIC)
			object->dynamic = (const void *)start;
		if (segment->p_type != PT_LOAD)
			continue;
		object->start = start < object->start ? start : object->start;
		object->end = end > object->end ? end : object->end;
	}
	if (!object->dynamic)
		return false;
	for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++) {
		switch (entry->d_tag) {
		case DT_SYMTAB: object->symbols = place(object, entry); break;
		case DT_STRTAB: object->strings = place(object, entry); break;
		case DT_GNU_HASH: object->gnu_hash = place(object, entry); break;
		case DT_HASH: object->hash = place(object, entry); break;
		case DT_SONAME: name = entry->d_un.d_val; break;
		}
	}
	if (name && object->strings)
		object->name = object->strings + name;
	return object->symbols && object->strings;
}

static bool holds(const struct object *object, uintptr_t address)
{
	return address >= object->start && address < object->end;
}

static const ElfW(Sym) *defined(const struct object *object, uint32_t index, const char *name)
{
	const ElfW(Sym) *symbol = &object->symbols[index];
	return symbol->st_shndx != SHN_UNDEF && !strcmp(object->strings + symbol->st_name, name) ? symbol : NULL;
}

/* DT_GNU_HASH: buckets, the first symbol that is in one, words of a Bloom filter, its shift; then these, and chains. */
static const ElfW(Sym) *look_up_gnu(const struct object *object, const char *name)
{
	const uint32_t *table = object->gnu_hash, count = table[0], first = table[1], words = table[2], shift = table[3];
	const ElfW(Addr) *filter = (const void *)(table + 4);
	const uint32_t *buckets = (const void *)(filter + words), *chains = buckets + count;
	enum { BITS = 8 * sizeof *filter };
	uint32_t hash = 5381;

	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		hash = hash * 33 + *c;
	ElfW(Addr) bits = (ElfW(Addr))1 << hash % BITS | (ElfW(Addr))1 << (hash >> shift) % BITS;
	if (!count || (filter[hash / BITS % words] & bits) != bits)
		return NULL;
	for (uint32_t i = buckets[hash % count]; i >= first; i++) {
		uint32_t chained = chains[i - first];
		const ElfW(Sym) *symbol = (chained | 1) == (hash | 1) ? defined(object, i, name) : NULL;
		if (symbol || chained & 1)
			return symbol;
	}
	return NULL;
}

static const ElfW(Sym) *look_up(const struct object *object, const char *name)
{
	const ElfW(Sym) *symbol = NULL;

	if (object->gnu_hash)
		return look_up_gnu(object, name);
	for (uint32_t i = 0; object->hash && i < object->hash[1] && !symbol; i++)
		symbol = defined(object, i, name);
	return symbol;
}

/* False: it has none. */
static bool copy_in(const struct object *object, enum copy_flavor flavor, struct copy *copy)
{
	const ElfW(Sym) *found[SYMBOLS];
	void *at[SYMBOLS];

	for (int i = 0; i < SYMBOLS; i++) {
		found[i] = look_up(object, flavors[flavor].symbols[i]);
		at[i] = found[i] ? (void *)(object->base + found[i]->st_value) : NULL;
		if (i <= ONGOING && !at[i])
			return false;
	}
	*copy = (struct copy){
		.enroll = (void (*)(void))at[ENROLL], .leave = (void (*)(void))at[LEAVE],
		.synchronize = (void (*)(void))at[SYNCHRONIZE], .start = object->start, .end = object->end,
	};
	if (found[READER]) {
		copy->reader[0] = object->tls;
		copy->reader[1] = found[READER]->st_value;
	}
	return true;
}

/* ---- which one ------------------------------------------------------------------------------------------------------ */

struct search {
	enum copy_flavor flavor;
	uintptr_t caller;
	struct object calling;     /* the caller's object, once found */
	struct copies *found;
	const char *names[COPIES_MOST];
	unsigned long long added;  /* how many objects the loader has ever added to its list */
};

static int look_at(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct search *search = argument;
	struct copies *found = search->found;
	struct object object;
	struct copy copy;

	(void)size;
	search->added = info->dlpi_adds;
	if (!read_object(info, &object))
		return 0;
	if (holds(&object, search->caller))
		search->calling = object;
	if (holds(&object, (uintptr_t)look_at) || found->count == COPIES_MOST || !copy_in(&object, search->flavor, &copy))
		return 0;
	search->names[found->count] = object.name;
	found->list[found->count++] = copy;
	return 0;
}

static void only(struct copies *found, unsigned i)
{
	found->list[0] = found->list[i];
	found->count = 1;
}

/* The caller's own, or that of the first library that it needs. False: it has none. */
static bool choose(struct search *search)
{
	struct copies *found = search->found;
	const struct object *calling = &search->calling;

	for (unsigned i = 0; i < found->count; i++)
		if (copy_holds(&found->list[i], (const void *)search->caller)) {
			only(found, i);
			return true;
		}
	for (const ElfW(Dyn) *entry = calling->dynamic; entry && entry->d_tag != DT_NULL; entry++)
		for (unsigned i = 0; entry->d_tag == DT_NEEDED && i < found->count; i++)
			if (!strcmp(calling->strings + entry->d_un.d_val, search->names[i])) {
				only(found, i);
				return true;
			}
	return false;
}

/*
 * Is the loader done with all of so many objects? They are on its list before they are relocated and have their place in
 * threads' TLS. False: not known, and now the load that may have been under way is over: look again.
 */
static bool all_loaded(unsigned long long added)
{
	static _Atomic unsigned long long known;

	if (atomic_load(&known) == added)
		return true;
	dlsym(RTLD_DEFAULT, "dl_iterate_phdr"); /* the loader's lock is held throughout a load */
	atomic_store(&known, added);
	return false;
}

/* True: the caller's own, which is loaded, as the caller runs. Else there may be any number, and some not loaded yet. */
static bool find(enum copy_flavor flavor, const void *caller, struct copies *found, unsigned long long *added)
{
	struct search search = {.flavor = flavor, .caller = (uintptr_t)caller, .found = found};

	found->count = 0;
	dl_iterate_phdr(look_at, &search);
	*added = search.added;
	return choose(&search);
}

/* ---- the global one -------------------------------------------------------------------------------------------------- */

static struct {
	struct copy copy;
	atomic_bool there;   /* copy is const from then on */
	atomic_bool for_all; /* it was at the start; one that we loaded is for those who have none of their own */
} global[COPY_FLAVORS];
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER; /* who writes `global` */
static atomic_bool started;
static atomic_bool asked[COPY_FLAVORS]; /* the loader for the system's */

/*
 * As the loader sees it: a program's references to liburcu's variables may have moved them into the program, and others may
 * stand between us and liburcu, too.
 */
static void find_global(enum copy_flavor flavor, void *handle)
{
	unsigned long long added;
	struct copies found;
	void *ongoing = NULL;

	find(flavor, NULL, &found, &added);
	if (found.count) /* else the loader would allocate what it says */
		ongoing = dlsym(handle, flavors[flavor].symbols[ONGOING]);
	for (unsigned i = 0; ongoing && i < found.count; i++) {
		struct copy *copy = &found.list[i];
		if (!copy_holds(copy, ongoing))
			continue;
		copy->enroll = (void (*)(void))dlsym(handle, flavors[flavor].symbols[ENROLL]);
		copy->leave = (void (*)(void))dlsym(handle, flavors[flavor].symbols[LEAVE]);
		copy->synchronize = (void (*)(void))dlsym(handle, flavors[flavor].symbols[SYNCHRONIZE]);
		copy->gp = dlsym(RTLD_DEFAULT, flavors[flavor].gp);
		copy->flavor = dlsym(RTLD_DEFAULT, flavors[flavor].flavor);
		pthread_mutex_lock(&loading); /* nothing below asks the loader */
		if (!atomic_load(&global[flavor].there)) {
			global[flavor].copy = *copy;
			atomic_store(&global[flavor].there, true);
		}
		pthread_mutex_unlock(&loading);
	}
}

void copies_start(void)
{
	if (atomic_load(&started))
		return;
	for (enum copy_flavor flavor = 0; flavor < COPY_FLAVORS; flavor++) {
		find_global(flavor, RTLD_NEXT);
		atomic_store(&global[flavor].for_all, atomic_load(&global[flavor].there));
	}
	atomic_store(&started, true);
}

/* ---- for interpose.c --------------------------------------------------------------------------------------------------- */

static bool load(enum copy_flavor flavor)
{
	atomic_store(&asked[flavor], true);
	void *handle = dlopen(flavors[flavor].library, RTLD_NOW | RTLD_GLOBAL);
	if (handle)
		find_global(flavor, handle);
	return atomic_load(&global[flavor].there);
}

/* The global one comes first, if there is one. */
static void put_global_first(enum copy_flavor flavor, struct copies *found)
{
	unsigned i = 0;

	if (!atomic_load(&global[flavor].there))
		return;
	while (i + 1 < found->count && found->list[i].start != global[flavor].copy.start)
		i++;
	if (found->count)
		found->list[i] = found->list[0];
	else
		found->count = 1;
	found->list[0] = global[flavor].copy;
}

/*
 * Who has none of its own is given all, as nothing tells whose readers it asks for; and the loader must be done with all. One
 * that was found while another thread loads the system's may be that: it is known when that is over.
 */
void copies_of(enum copy_flavor flavor, const void *caller, struct copies *found)
{
	unsigned long long added;

	copies_start();
	while (!atomic_load(&global[flavor].for_all)) {
		if (find(flavor, caller, found, &added)) {
			if (!atomic_load(&global[flavor].there) || found->list[0].start != global[flavor].copy.start)
				return;
			break;
		}
		if (!atomic_load(&global[flavor].there) && (!found->count || atomic_load(&asked[flavor]))) {
			if (load(flavor))
				continue;
			if (!found->count)
				return;
		}
		put_global_first(flavor, found);
		if (all_loaded(added))
			return;
	}
	found->list[0] = global[flavor].copy;
	found->count = 1;
}

const char *copies_library(enum copy_flavor flavor)
{
	return flavors[flavor].library;
}

extern void *__tls_get_addr(size_t index[2]);

void *copy_reader(const struct copy *copy)
{
	size_t index[2] = {copy->reader[0], copy->reader[1]};
	return index[0] ? __tls_get_addr(index) : NULL;
}
