#define _GNU_SOURCE
#include "symbols.h"

#include <qslab/segment.h>

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct symbol {
	uint64_t start, end; /* as the file numbers addresses; end 0: not known */
	const char *name;
};

struct file {
	const char *name;
	const uint8_t *bytes; /* NULL: cannot be read */
	size_t size;
	bool program;         /* not a shared library */
	uint64_t ours, ours_end; /* where QSLAB_CODE_SECTION is, as the file numbers addresses; 0: there is none */
	struct symbol *list;  /* by start */
	size_t count;
};

struct text {
	uint64_t address;
	char *name;
};

struct symbols {
	const struct mappings *mappings;
	int pid;
	bool demangle;
	struct file *files;
	size_t file_count;
	struct text *texts; /* those asked for, by hash */
	size_t text_count, room;
};

/* ---- files -------------------------------------------------------------------------------------------------- */

/* A part of the file, or NULL. */
static const void *part(const struct file *file, uint64_t at, uint64_t size)
{
	return file->bytes && at <= file->size && size <= file->size - at ? file->bytes + at : NULL;
}

static const Elf64_Ehdr *header_of(const struct file *file)
{
	const Elf64_Ehdr *header = part(file, 0, sizeof *header);
	bool is = header && !memcmp(header->e_ident, ELFMAG, SELFMAG) && header->e_ident[EI_CLASS] == ELFCLASS64;
	return is ? header : NULL;
}

static int by_start(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->end > y->end ? -1 : x->end < y->end;
}

static const Elf64_Shdr *sections_of(const struct file *file, unsigned *count)
{
	const Elf64_Ehdr *header = header_of(file);

	*count = header && header->e_shentsize == sizeof(Elf64_Shdr) ? header->e_shnum : 0;
	return *count ? part(file, header->e_shoff, (uint64_t)*count * sizeof(Elf64_Shdr)) : NULL;
}

static void take_table(struct file *file, const Elf64_Shdr *table, const Elf64_Shdr *strings)
{
	const Elf64_Sym *list = part(file, table->sh_offset, table->sh_size);
	const char *names = part(file, strings->sh_offset, strings->sh_size);
	size_t count = list && names ? table->sh_size / sizeof *list : 0;

	if (!count || !strings->sh_size || names[strings->sh_size - 1])
		return;
	file->list = need(realloc(file->list, count * sizeof *file->list));
	for (size_t i = 0; i < count; i++) {
		unsigned type = ELF64_ST_TYPE(list[i].st_info);
		if ((type != STT_FUNC && type != STT_GNU_IFUNC) || !list[i].st_value || list[i].st_name >= strings->sh_size)
			continue;
		file->list[file->count++] = (struct symbol){
			list[i].st_value, list[i].st_size ? list[i].st_value + list[i].st_size : 0, names + list[i].st_name};
	}
	qsort(file->list, file->count, sizeof *file->list, by_start);
}

/* The full table, else the one for linking. */
static void take_symbols(struct file *file)
{
	static const uint32_t types[] = {SHT_SYMTAB, SHT_DYNSYM};
	unsigned count;
	const Elf64_Shdr *sections = sections_of(file, &count);

	for (size_t t = 0; sections && t < 2 && !file->count; t++)
		for (unsigned i = 0; i < count && !file->count; i++)
			if (sections[i].sh_type == types[t] && sections[i].sh_link < count)
				take_table(file, &sections[i], &sections[sections[i].sh_link]);
}

static void take_ours(struct file *file)
{
	static const char name[] = QSLAB_CODE_SECTION;
	unsigned count, names = header_of(file) ? header_of(file)->e_shstrndx : 0;
	const Elf64_Shdr *sections = sections_of(file, &count);

	for (unsigned i = 0; sections && names < count && i < count; i++) {
		const char *own = sections[i].sh_name < sections[names].sh_size ?
			part(file, sections[names].sh_offset + sections[i].sh_name, sizeof name) : NULL;
		if (own && !memcmp(own, name, sizeof name)) {
			file->ours = sections[i].sh_addr;
			file->ours_end = sections[i].sh_addr + sections[i].sh_size;
		}
	}
}

static bool is_program(const struct file *file)
{
	const Elf64_Ehdr *header = header_of(file);
	const Elf64_Phdr *programs = header && header->e_phentsize == sizeof *programs ?
		part(file, header->e_phoff, (uint64_t)header->e_phnum * sizeof *programs) : NULL;

	if (header && header->e_type == ET_EXEC)
		return true;
	for (unsigned i = 0; programs && i < header->e_phnum; i++)
		if (programs[i].p_type == PT_INTERP)
			return true;
	return false;
}

static void open_file(struct file *file, int pid)
{
	char path[PATH_MAX];
	struct stat status;
	int fd = -1;

	if (file->name[0] != '/')
		return;
	if (pid && (size_t)snprintf(path, sizeof path, "/proc/%d/root%s", pid, file->name) < sizeof path)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = open(file->name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_size > 0) {
		void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (bytes != MAP_FAILED) {
			file->bytes = bytes;
			file->size = (size_t)status.st_size;
		}
	}
	close(fd);
	take_symbols(file);
	take_ours(file);
	file->program = is_program(file);
}

static const struct mapping *mapping_at(const struct symbols *symbols, uint64_t address)
{
	for (size_t i = 0; i < symbols->mappings->count; i++) {
		const struct mapping *mapping = &symbols->mappings->list[i];
		if (address >= mapping->start && address < mapping->end)
			return *mapping->name ? mapping : NULL;
	}
	return NULL;
}

static struct file *file_of(struct symbols *symbols, const struct mapping *mapping)
{
	for (size_t i = 0; i < symbols->file_count; i++)
		if (!strcmp(symbols->files[i].name, mapping->name))
			return &symbols->files[i];
	symbols->files = need(realloc(symbols->files, (symbols->file_count + 1) * sizeof *symbols->files));
	struct file *file = &symbols->files[symbols->file_count++];
	*file = (struct file){.name = mapping->name};
	open_file(file, symbols->pid);
	return file;
}

/* ---- names -------------------------------------------------------------------------------------------------- */

/* The address, as the file numbers it, of an offset in it; 0: none. */
static uint64_t numbered(const struct file *file, uint64_t offset)
{
	const Elf64_Ehdr *header = header_of(file);
	const Elf64_Phdr *programs = header && header->e_phentsize == sizeof *programs ?
		part(file, header->e_phoff, (uint64_t)header->e_phnum * sizeof *programs) : NULL;

	for (unsigned i = 0; programs && i < header->e_phnum; i++)
		if (programs[i].p_type == PT_LOAD && offset - programs[i].p_offset < programs[i].p_filesz)
			return offset - programs[i].p_offset + programs[i].p_vaddr;
	return 0;
}

static const char *find(const struct file *file, uint64_t address)
{
	size_t low = 0, high = file->count;

	while (low < high) { /* the first that starts behind it */
		size_t middle = (low + high) / 2;
		if (file->list[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t i = low; i > 0 && low - i < 8; i--) /* one may lie in another */
		if (address < file->list[i - 1].end || !file->list[i - 1].end)
			return file->list[i - 1].name;
	return NULL;
}

/* libstdc++ is looked for with the first C++ name: the tool does without it. NULL: the name stays as it is. */
static char *demangled(const char *name)
{
	static char *(*call)(const char *name, char *buffer, size_t *size, int *status);
	static bool looked;
	int status;

	if (strncmp(name, "_Z", 2))
		return NULL;
	if (!looked) {
		void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_LOCAL);
		*(void **)&call = library ? dlsym(library, "__cxa_demangle") : NULL;
		looked = true;
	}
	return call ? call(name, NULL, NULL, &status) : NULL;
}

static char *make_name(struct symbols *symbols, uint64_t address)
{
	const struct mapping *mapping = mapping_at(symbols, address);
	char *text = NULL;
	int length;

	if (!mapping) {
		length = asprintf(&text, "0x%" PRIx64, address);
		return need(length < 0 ? NULL : text);
	}
	const struct file *file = file_of(symbols, mapping);
	uint64_t offset = address - mapping->start + mapping->offset, at = numbered(file, offset);
	const char *name = at ? find(file, at) : NULL, *slash = strrchr(mapping->name, '/');
	if (name && *name) {
		text = symbols->demangle ? demangled(name) : NULL;
		return text ? text : need(strdup(name));
	}
	length = asprintf(&text, "%s+0x%" PRIx64, slash ? slash + 1 : mapping->name, offset);
	return need(length < 0 ? NULL : text);
}

/* Where it is, or belongs. */
static struct text *slot(struct text *texts, size_t room, uint64_t address)
{
	size_t at = (address * 0x9e3779b97f4a7c15) >> 32 & (room - 1);

	while (texts[at].name && texts[at].address != address)
		at = (at + 1) & (room - 1);
	return &texts[at];
}

static void grow(struct symbols *symbols)
{
	size_t room = symbols->room ? 2 * symbols->room : 256;
	struct text *texts = need(calloc(room, sizeof *texts));

	for (size_t i = 0; i < symbols->room; i++)
		if (symbols->texts[i].name)
			*slot(texts, room, symbols->texts[i].address) = symbols->texts[i];
	free(symbols->texts);
	symbols->texts = texts;
	symbols->room = room;
}

const char *symbols_name(struct symbols *symbols, uint64_t address)
{
	if (2 * symbols->text_count >= symbols->room)
		grow(symbols);
	struct text *text = slot(symbols->texts, symbols->room, address);
	if (!text->name) {
		*text = (struct text){address, make_name(symbols, address)};
		symbols->text_count++;
	}
	return text->name;
}

bool symbols_in_library(struct symbols *symbols, uint64_t address, uint64_t code)
{
	const struct mapping *here = mapping_at(symbols, address), *there = mapping_at(symbols, code);

	if (!here || !there || strcmp(here->name, there->name))
		return false;
	const struct file *file = file_of(symbols, here);
	uint64_t at = numbered(file, address - here->start + here->offset);
	return file->ours_end ? at >= file->ours && at < file->ours_end : !file->program;
}

struct symbols *symbols_new(const struct mappings *mappings, int pid, bool demangle)
{
	struct symbols *symbols = need(calloc(1, sizeof *symbols));

	symbols->mappings = mappings;
	symbols->pid = pid;
	symbols->demangle = demangle;
	return symbols;
}

void symbols_free(struct symbols *symbols)
{
	for (size_t i = 0; i < symbols->file_count; i++) {
		free(symbols->files[i].list);
		if (symbols->files[i].bytes)
			munmap((void *)symbols->files[i].bytes, symbols->files[i].size);
	}
	for (size_t i = 0; i < symbols->room; i++)
		free(symbols->texts[i].name);
	free(symbols->files);
	free(symbols->texts);
	free(symbols);
}
