/* A core file: PT_LOAD for bytes, NT_FILE for names, NT_PRSTATUS for stacks, NT_PRPSINFO for the process's number and name. */
#define _GNU_SOURCE
#include "source.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define STACK_POINTER 19
#elif defined(__aarch64__)
#define STACK_POINTER 31
#endif

struct load {
	uint64_t start, end; /* of the mapping */
	uint64_t offset;     /* in the file */
	uint64_t filed;      /* bytes in the file */
	unsigned flags;
};

struct named {
	uint64_t start, end, offset;
	const char *name;
};

struct core {
	struct source source;
	const uint8_t *bytes;
	size_t size;
	struct load *loads;   /* by address */
	size_t load_count;
	struct named *names;  /* by address */
	size_t name_count;
	uint64_t *stacks;
	size_t stack_count;
};

/* ---- bytes ---------------------------------------------------------------------------------------------- */

/* Of `count` ranges by address, each of which begins with its start and its end: the first that ends above `at`. */
static size_t first_above(const void *ranges, size_t count, size_t size, uint64_t at)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const uint64_t *range = (const void *)((const char *)ranges + middle * size);
		if (range[1] <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Of such ranges, and of mappings. */
static int by_start(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static const struct load *find(const struct core *core, uint64_t at)
{
	size_t i = first_above(core->loads, core->load_count, sizeof *core->loads, at);
	return i < core->load_count && core->loads[i].start <= at ? &core->loads[i] : NULL;
}

/* The bytes at an address, and how many follow; NULL if the file does not have it. */
static const uint8_t *bytes_at(const struct core *core, uint64_t at, size_t *room)
{
	const struct load *load = find(core, at);

	if (!load || at - load->start >= load->filed)
		return NULL;
	*room = load->filed - (at - load->start);
	return core->bytes + load->offset + (at - load->start);
}

static bool core_read(struct source *source, struct piece *pieces, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *to = pieces[i].to;
		uint64_t at = pieces[i].at;
		size_t left = pieces[i].size, room = 0;
		while (left) {
			const uint8_t *from = bytes_at((struct core *)source, at, &room);
			if (!from)
				break;
			size_t now = left < room ? left : room;
			memcpy(to, from, now);
			to += now, at += now, left -= now;
		}
		pieces[i].got = !left;
	}
	return true;
}

static bool is_zero(const uint8_t *page)
{
	return !*page && !memcmp(page, page + 1, SOURCE_PAGE - 1);
}

static void core_resident(struct source *source, uint64_t start, size_t pages, uint8_t *flags)
{
	size_t room = 0;

	for (size_t i = 0; i < pages; i++) {
		const uint8_t *page = bytes_at((struct core *)source, start + i * SOURCE_PAGE, &room);
		flags[i] = page && room >= SOURCE_PAGE && !is_zero(page);
	}
}

/* ---- mappings ------------------------------------------------------------------------------------------- */

static const struct named *named_at(const struct core *core, uint64_t start, uint64_t end)
{
	size_t i = first_above(core->names, core->name_count, sizeof *core->names, start);
	return i < core->name_count && core->names[i].start < end ? &core->names[i] : NULL;
}

/* Debuggers' cores leave out what is in files: code, above all. */
static void add_left_out(const struct core *core, struct mappings *mappings)
{
	for (size_t i = 0; i < core->name_count; i++) {
		const struct named *named = &core->names[i];
		if (find(core, named->start))
			continue;
		struct mapping *mapping = mappings_add(mappings, named->start, named->end, named->name);
		mapping->offset = named->offset;
		mapping->readable = mapping->executable = true;
	}
	if (mappings->count)
		qsort(mappings->list, mappings->count, sizeof *mappings->list, by_start);
}

static bool core_map(struct source *source, bool detail, struct mappings *mappings)
{
	struct core *core = (struct core *)source;

	for (size_t i = 0; i < core->load_count; i++) {
		const struct load *load = &core->loads[i];
		const struct named *named = named_at(core, load->start, load->end);
		struct mapping *mapping = mappings_add(mappings, load->start, load->end, named ? named->name : "");
		mapping->offset = named ? named->offset + load->start - named->start : 0;
		mapping->executable = load->flags & PF_X;
		mapping->readable = load->flags & PF_R;
		mapping->writable = load->flags & PF_W;
		size_t pages = load->filed / SOURCE_PAGE;
		uint8_t *flags = detail && pages ? need(malloc(pages)) : NULL;
		if (!flags)
			continue;
		source_resident(source, load->start, pages, flags);
		for (size_t page = 0; page < pages; page++)
			mapping->rss += flags[page] * SOURCE_PAGE;
		mappings->rss += mapping->rss;
		free(flags);
	}
	add_left_out(core, mappings);
	return true;
}

static bool core_is_stack(struct source *source, const struct mapping *mapping, const struct mapping *before)
{
	const struct core *core = (const struct core *)source;

	(void)before;
	for (size_t i = 0; i < core->stack_count; i++)
		if (core->stacks[i] >= mapping->start && core->stacks[i] < mapping->end)
			return true;
	return false;
}

static void core_close(struct source *source)
{
	struct core *core = (struct core *)source;

	munmap((void *)core->bytes, core->size);
	free(core->loads);
	free(core->names);
	free(core->stacks);
	free(core);
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static uint64_t core_rss(struct source *source)
{
	(void)source;
	return 0;
}

static const struct source_calls calls = {core_read, core_map, core_rss, core_resident, core_is_stack, core_close};

/* NT_FILE: count, page size, count times {start, end, page offset}, then as many strings. */
static void take_names(struct core *core, const char *bytes, size_t size)
{
	uint64_t head[2] = {0, 0}, words[3]; /* what stands in the file need not be aligned */

	if (size >= sizeof head)
		memcpy(head, bytes, sizeof head);
	uint64_t count = head[0];
	if (core->names || count > size / sizeof words || size - count * sizeof words < sizeof head)
		return;
	const char *text = bytes + sizeof head + count * sizeof words, *end = bytes + size;
	core->names = need(calloc(count + 1, sizeof *core->names));
	for (uint64_t i = 0; i < count && text < end && memchr(text, 0, (size_t)(end - text)); i++) {
		memcpy(words, bytes + sizeof head + i * sizeof words, sizeof words);
		core->names[core->name_count++] = (struct named){words[0], words[1], words[2] * head[1], text};
		text += strlen(text) + 1;
	}
	qsort(core->names, core->name_count, sizeof *core->names, by_start);
}

static void take_note(struct core *core, unsigned type, const void *bytes, size_t size)
{
	if (type == NT_FILE) {
		take_names(core, bytes, size);
	} else if (type == NT_PRPSINFO && size >= sizeof(prpsinfo_t)) {
		prpsinfo_t info;
		memcpy(&info, bytes, sizeof info);
		core->source.pid = info.pr_pid;
		snprintf(core->source.command, sizeof core->source.command, "%.*s", (int)sizeof info.pr_fname, info.pr_fname);
	} else if (type == NT_PRSTATUS && size >= sizeof(prstatus_t)) {
#ifdef STACK_POINTER
		GROW(core->stacks, core->stack_count);
		memcpy(&core->stacks[core->stack_count++],
		       (const char *)bytes + offsetof(prstatus_t, pr_reg) + STACK_POINTER * sizeof(uint64_t), sizeof(uint64_t));
#endif
	}
}

static void take_notes(struct core *core, const uint8_t *at, size_t size)
{
	while (size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		memcpy(&note, at, sizeof note);
		size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3, body = ((size_t)note.n_descsz + 3) & ~(size_t)3;
		if (name > size || body > size || sizeof note + name + body > size)
			return;
		take_note(core, note.n_type, at + sizeof note + name, note.n_descsz);
		at += sizeof note + name + body;
		size -= sizeof note + name + body;
	}
}

/* Headers that lie are cut to what the file has, each of its bytes once. Nothing in it need be aligned. */
static bool take_headers(struct core *core)
{
	Elf64_Ehdr header;
	Elf64_Shdr section;
	size_t size = core->size, left = size;

	if (size < sizeof header)
		return false;
	memcpy(&header, core->bytes, sizeof header);
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_type != ET_CORE ||
	    header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > size)
		return false;
	size_t count = header.e_phnum;
	if (count == PN_XNUM) {
		if (size < sizeof section || header.e_shoff > size - sizeof section)
			return false;
		memcpy(&section, core->bytes + header.e_shoff, sizeof section);
		count = section.sh_info;
	}
	if (count > (size - header.e_phoff) / sizeof(Elf64_Phdr))
		return false;
	core->loads = need(calloc(count + 1, sizeof *core->loads));
	for (size_t i = 0; i < count; i++) {
		Elf64_Phdr p;
		memcpy(&p, core->bytes + header.e_phoff + i * sizeof p, sizeof p);
		uint64_t filed = p.p_offset < size ? size - p.p_offset : 0;
		core->source.cut |= filed < p.p_filesz;
		filed = p.p_filesz < filed ? p.p_filesz : filed;
		filed = filed < left ? filed : left;
		left -= filed;
		if (p.p_type == PT_NOTE)
			take_notes(core, core->bytes + (filed ? p.p_offset : 0), filed);
		else if (p.p_type == PT_LOAD && p.p_vaddr + p.p_memsz >= p.p_vaddr)
			core->loads[core->load_count++] =
				(struct load){p.p_vaddr, p.p_vaddr + p.p_memsz, p.p_offset, filed, p.p_flags};
	}
	qsort(core->loads, core->load_count, sizeof *core->loads, by_start);
	for (size_t i = 0; i < core->load_count; i++) { /* no address twice */
		struct load *load = &core->loads[i];
		if (i + 1 < core->load_count && load->end > load[1].start)
			load->end = load[1].start;
		if (load->filed > load->end - load->start)
			load->filed = load->end - load->start;
	}
	return true;
}

struct source *source_core(const char *path, struct failure *failure)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO is not waited for */

	if (fd < 0 || fstat(fd, &status)) {
		fail(failure, "%.200s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	struct core *core = need(calloc(1, sizeof *core));
	core->size = (size_t)status.st_size;
	void *bytes = S_ISREG(status.st_mode) && core->size ? mmap(NULL, core->size, PROT_READ, MAP_PRIVATE, fd, 0)
	                                                    : MAP_FAILED;
	close(fd);
	if (bytes == MAP_FAILED) {
		free(core);
		fail(failure, "%.200s: not a core file", path);
		return NULL;
	}
	core->bytes = bytes;
	core->source = (struct source){.calls = &calls};
	snprintf(core->source.name, sizeof core->source.name, "%.200s", path);
	if (!take_headers(core)) {
		core_close(&core->source);
		fail(failure, "%.200s: not a core file", path);
		return NULL;
	}
	return &core->source;
}
