/*
 * Bytes to damage in a core file of a process on qslab ($FUZZ_CORE, of fuzz_core), and the tool's reader on it: it must
 * end, with a snapshot that adds up, or with a message. Six bytes a wound: what, where (three), with what (two).
 */
#define _GNU_SOURCE
#include "tools/reader.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REQUIRE(condition) ((condition) ? (void)0 : not_so(__LINE__, #condition))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *core, *copy;      /* the file; as damaged, a shared mapping of what the reader opens */
static size_t core_size;
static uint32_t *words;           /* offsets of all words that are not 0 */
static size_t word_count;
static size_t segment;            /* offset of the published segment */
static char path[64];
static int fd;

static _Noreturn void not_so(int line, const char *what)
{
	fprintf(stderr, "reader.c:%d: not so: %s\n", line, what);
	abort();
}

static uint64_t word_of(size_t offset)
{
	uint64_t word;
	memcpy(&word, core + offset, sizeof word);
	return word;
}

static void load(void)
{
	const char *name = getenv("FUZZ_CORE");
	FILE *file = name ? fopen(name, "rb") : NULL;

	REQUIRE(file);
	fseek(file, 0, SEEK_END);
	core_size = (size_t)ftell(file) & ~(size_t)7;
	rewind(file);
	core = malloc(core_size);
	words = malloc(core_size / 8 * sizeof *words);
	REQUIRE(core && words && fread(core, core_size, 1, file) == 1);
	fclose(file);
	for (size_t at = 0; at < core_size; at += 8) {
		if (word_of(at) == QSLAB_SEGMENT_MAGIC && at % SOURCE_PAGE == 0)
			segment = at;
		if (word_of(at))
			words[word_count++] = (uint32_t)at;
	}
	REQUIRE(segment);
	fd = memfd_create("core", MFD_CLOEXEC);
	REQUIRE(fd >= 0 && !ftruncate(fd, (off_t)core_size));
	copy = mmap(NULL, core_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	REQUIRE(copy != MAP_FAILED);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
}

/* The new length of the file. */
static size_t wound(const uint8_t *bytes, size_t length)
{
	static const uint64_t edges[] = {0, 1, 2, 7, 255, 4095, 4096, 65535, 0x7fffffff, 0x80000000, 0xffffffff,
	                                 (uint64_t)1 << 32, (uint64_t)1 << 40, (uint64_t)1 << 46, (uint64_t)1 << 47,
	                                 INT64_MAX, (uint64_t)1 << 63, ~(uint64_t)0, ~(uint64_t)7, ~(uint64_t)4095};
	uint32_t where = bytes[1] | bytes[2] << 8 | bytes[3] << 16;
	uint32_t with = bytes[4] | bytes[5] << 8;
	uint64_t edge = edges[with % (sizeof edges / sizeof *edges)];
	size_t hot = words[where % word_count], place;

	switch (bytes[0] & 7) {
	case 0:
		copy[hot + with % 8] ^= (uint8_t)(1u << (with >> 3 & 7));
		return length;
	case 1: /* a field of the segment, half a word or a whole one */
		place = segment + where % (sizeof(struct qslab_segment) / 4 - 1) * 4;
		memcpy(copy + place, &edge, bytes[0] & 8 ? 4 : 8);
		return length;
	case 2:
		memcpy(copy + segment + where % sizeof(struct qslab_segment) / 4 * 4, &with, 4);
		return length;
	case 3:
		memcpy(copy + hot, &edge, bytes[0] & 8 ? 4 : 8);
		return length;
	case 4: /* a pointer to somewhere else, or to itself: cycles */
		memcpy(copy + hot, core + words[(where >> 8 ^ with * 31) % word_count], 8);
		return length;
	case 5: /* off by a little */
		edge = word_of(hot) + with % 129 - 64;
		memcpy(copy + hot, &edge, 8);
		return length;
	case 6: /* the headers of the file */
		place = where % (core_size < 8192 ? core_size / 4 : 2048) * 4;
		memcpy(copy + place, with & 0x8000 ? &edge : (uint64_t *)(core + words[with % word_count]), 8);
		return length;
	default:
		return bytes[0] & 8 ? where % core_size : length;
	}
}

static void check(const struct snapshot *snapshot)
{
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		const struct allocator *allocator = &snapshot->allocators[a];
		for (size_t i = 0; i < allocator->slab_count; i++) {
			const struct slab_view *slab = &allocator->slabs[i];
			unsigned sum = 0;
			for (unsigned p = 0; p < PLACES; p++)
				sum += slab->count[p];
			REQUIRE(sum == slab->objects);
			REQUIRE(allocator_slab(allocator, slab->address) == slab);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct failure why;
	size_t length;

	if (!core)
		load();
	length = core_size;
	REQUIRE(!ftruncate(fd, (off_t)core_size));
	memcpy(copy, core, core_size);
	for (size_t at = 0; at + 6 <= size && at < 6 * 64; at += 6)
		length = wound(data + at, length);
	REQUIRE(!ftruncate(fd, (off_t)length));
	why.text[0] = '\0';
	struct reader *reader = reader_open_core(path, &why);
	if (!reader) {
		REQUIRE(why.text[0]);
		return 0;
	}
	struct snapshot *snapshot = reader_snapshot(reader, SNAPSHOT_MEMORY | SNAPSHOT_PROFILE | SNAPSHOT_LISTS, &why);
	REQUIRE(snapshot ? size >= 6 || snapshot->allocators->slab_count : why.text[0] && size >= 6);
	if (snapshot)
		check(snapshot);
	snapshot_free(snapshot);
	reader_close(reader);
	return 0;
}
