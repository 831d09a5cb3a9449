/* qslab profile: the sampled heap profile of a process, by call site; and its rate, from outside. */
#define _GNU_SOURCE
#include "command.h"
#include "format.h"
#include "sites.h"
#include "symbols.h"
#include "text.h"
#include "totals.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define ROWS_MOST 40
#define CALLERS_MOST 4

static const char *const value_names[VALUES] = {"live", "waiting", "pinned"};
static const char *const formats[] = {"text", "folded", "pprof"};
enum format { FORMAT_TEXT, FORMAT_FOLDED, FORMAT_PPROF, FORMATS };

/* Names from memory that is not ours may hold anything; a frame ends at ';', a line at its end. */
static void print_name(FILE *out, const char *name)
{
	char *text = need(strdup(name));

	text_printable(text);
	for (const char *c = text; *c; c++)
		fputc(*c == ';' ? '?' : *c, out);
	free(text);
}

/* ---- formats -------------------------------------------------------------------------------------------------- */

/* Of a site without a stack. */
static void print_nameless(FILE *out, const struct site *site)
{
	fputs(site->cache ? "cache " : "(not known)", out);
	print_name(out, site->cache ? site->cache : "");
}

static void print_callers(FILE *out, const struct site *site, struct symbols *symbols)
{
	if (!site->depth)
		print_nameless(out, site);
	for (size_t i = 0; i < site->depth && i < CALLERS_MOST; i++) {
		fputs(i ? " < " : "", out);
		print_name(out, symbols_name(symbols, site->stack[i] - 1));
	}
	fputs(site->depth > CALLERS_MOST ? " < ...\n" : "\n", out);
}

static void print_text(FILE *out, const char *name, const struct sites *sites, struct symbols *symbols)
{
	size_t rows = sites->count < ROWS_MOST ? sites->count : ROWS_MOST;

	fprintf(out, "%s: %s live, %s waiting for a grace period, %s pinned by nearly empty slabs\n", name,
	        human_bytes((uint64_t)sites->bytes[VALUE_LIVE]).text,
	        human_bytes((uint64_t)sites->bytes[VALUE_WAITING]).text,
	        human_bytes((uint64_t)sites->bytes[VALUE_PINNED]).text);
	fprintf(out, "estimated from %" PRIu64 " %s; ", sites->samples, plural(sites->samples, "sample", "samples"));
	if (sites->rate)
		fprintf(out, "one byte in %" PRIu64 " is sampled\n", sites->rate);
	else
		fprintf(out, "sampling is off\n");
	if (sites->lost)
		fprintf(out, "%" PRIu64 " samples were lost for want of room\n", sites->lost);
	fprintf(out, "\n%12s %12s %12s %12s %8s  allocated by\n", "live", "objects", "waiting", "pinned", "samples");
	for (size_t i = 0; i < rows; i++) {
		const struct site *site = &sites->list[i];
		fprintf(out, "%12s %12.0f %12s %12s ", human_bytes((uint64_t)site->bytes[VALUE_LIVE]).text,
		        site->objects[VALUE_LIVE], human_bytes((uint64_t)site->bytes[VALUE_WAITING]).text,
		        human_bytes((uint64_t)site->bytes[VALUE_PINNED]).text);
		if (site->samples)
			fprintf(out, "%8" PRIu64 "  ", site->samples);
		else
			fprintf(out, "%8s  ", "all");
		print_callers(out, site, symbols);
	}
	if (rows < sites->count)
		fprintf(out, "and %zu more\n", sites->count - rows);
}

/* A line a stack, outermost first: what flamegraph.pl and its like take; a name may hold spaces, the last ends it. */
static void print_folded(FILE *out, const struct sites *sites, struct symbols *symbols, enum value value)
{
	for (size_t i = 0; i < sites->count; i++) {
		const struct site *site = &sites->list[i];
		if (site->bytes[value] < 0.5)
			continue;
		if (!site->depth)
			print_nameless(out, site);
		for (size_t f = site->depth; f-- > 0;) {
			print_name(out, symbols_name(symbols, site->stack[f] - 1));
			fputs(f ? ";" : "", out);
		}
		fprintf(out, " %.0f\n", site->bytes[value]);
	}
}

/* The text format of heap profiles, with estimates, so that nothing is to be scaled; caches have no address. */
static void print_pprof(FILE *out, const struct sites *sites, const struct mappings *mappings, enum value value)
{
	double objects = 0, bytes = 0;

	for (size_t i = 0; i < sites->count; i++) {
		objects += sites->list[i].depth ? sites->list[i].objects[value] : 0;
		bytes += sites->list[i].depth ? sites->list[i].bytes[value] : 0;
	}
	fprintf(out, "heap profile: %.0f: %.0f [%.0f: %.0f] @ heapprofile\n", objects, bytes, objects, bytes);
	for (size_t i = 0; i < sites->count; i++) {
		const struct site *site = &sites->list[i];
		if (!site->depth || site->bytes[value] < 0.5)
			continue;
		fprintf(out, "%.0f: %.0f [%.0f: %.0f] @", site->objects[value], site->bytes[value], site->objects[value],
		        site->bytes[value]);
		for (size_t f = 0; f < site->depth; f++)
			fprintf(out, " 0x%" PRIx64, site->stack[f]);
		fputc('\n', out);
	}
	fputs("\nMAPPED_LIBRARIES:\n", out);
	for (size_t i = 0; i < mappings->count; i++) {
		const struct mapping *mapping = &mappings->list[i];
		if (*mapping->name)
			fprintf(out, "%08" PRIx64 "-%08" PRIx64 " %c%c%c%c %08" PRIx64 " 00:00 0 %s\n", mapping->start,
			        mapping->end, mapping->readable ? 'r' : '-', mapping->writable ? 'w' : '-', mapping->executable ? 'x' : '-',
			        mapping->shared ? 's' : 'p', mapping->offset, mapping->name);
	}
}

/* ---- the rate --------------------------------------------------------------------------------------------------- */

/* BYTES[KMG], as the library's own options. */
static bool parse_rate(const char *text, uint64_t *rate)
{
	char *end;

	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
	if (*text < '0' || *text > '9' || errno || end[shift != 0] || number > UINT64_MAX >> 1 >> shift)
		return false;
	*rate = (uint64_t)number << shift;
	return true;
}

static bool is_ready(const struct snapshot *snapshot)
{
	for (size_t a = 0; a < snapshot->allocator_count; a++)
		if (snapshot->allocators[a].segment.profile.rate)
			return true;
	return false;
}

/* One aligned word, which the process only reads. */
static int set_rate(const char *name, const struct snapshot *snapshot, uint64_t rate)
{
	if (!snapshot->live) {
		fprintf(stderr, "qslab: %s: the rate of a core file cannot be set\n", name);
		return 1;
	}
	for (size_t a = 0; a < snapshot->allocator_count; a++) {
		struct iovec here = {&rate, sizeof rate};
		struct iovec there = {(void *)snapshot->allocators[a].segment.profile.rate, sizeof rate};
		if (!there.iov_base || process_vm_writev(snapshot->pid, &here, 1, &there, 1, 0) == sizeof rate)
			continue;
		fprintf(stderr, "qslab: %s: its rate cannot be set: %s\n", name, strerror(errno));
		return 1;
	}
	return 0;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static int print_profile(const char *name, const struct snapshot *snapshot, const struct mappings *mappings,
                         enum format format, enum value value, bool raw, const char *path)
{
	struct symbols *symbols = symbols_new(mappings, snapshot->live ? snapshot->pid : 0, !raw);
	struct sites sites;
	FILE *out = path ? fopen(path, "we") : stdout;
	int status = 0;

	if (!out) {
		fprintf(stderr, "qslab: %s: %s\n", path, strerror(errno));
		symbols_free(symbols);
		return 1;
	}
	sites_take(&sites, snapshot, symbols, value);
	if (format == FORMAT_TEXT)
		print_text(out, name, &sites, symbols);
	else if (format == FORMAT_FOLDED)
		print_folded(out, &sites, symbols, value);
	else
		print_pprof(out, &sites, mappings, value);
	if (path && (ferror(out) | fclose(out))) {
		fprintf(stderr, "qslab: %s: cannot be written\n", path);
		status = 1;
	}
	sites_free(&sites);
	symbols_free(symbols);
	return path ? status : finish_output();
}

/* The number of the name; `count` if it has none. */
static unsigned number_of(const char *name, const char *const *names, unsigned count)
{
	unsigned i = 0;
	while (i < count && strcmp(name, names[i]))
		i++;
	return i;
}

int command_profile(int count, char **arguments)
{
	const char *format_name = "text", *value_name = "live", *path = NULL, *rate_text = NULL;
	bool raw = false;
	const struct option options[] = {
		{"--format", OPTION_TEXT, &format_name, 0, 0}, {"--value", OPTION_TEXT, &value_name, 0, 0},
		{"--rate", OPTION_TEXT, &rate_text, 0, 0},     {"--no-demangle", OPTION_SWITCH, &raw, 0, 0},
		{"-o", OPTION_TEXT, &path, 0, 0},
	};
	struct mappings mappings = {.count = 0};
	struct words words;
	struct failure why;
	uint64_t rate = 0;
	int status = 2;

	if (!parse_arguments("profile", count, arguments, options, 5, &words, 1, 1, "no process or core file given"))
		return 2;
	unsigned format = number_of(format_name, formats, FORMATS), value = number_of(value_name, value_names, VALUES);
	if (format == FORMATS)
		return wrong_usage("profile: --format is text, folded or pprof, not ", format_name);
	if (value == VALUES)
		return wrong_usage("profile: --value is live, waiting or pinned, not ", value_name);
	if (rate_text && !parse_rate(rate_text, &rate))
		return wrong_usage("profile: --rate needs bytes, with K, M or G, or 0, not ", rate_text);
	struct reader *reader = open_target(words.list[0], &status);
	if (!reader)
		return status;
	struct snapshot *snapshot = reader_snapshot(reader, rate_text ? 0 : SNAPSHOT_MEMORY | SNAPSHOT_PROFILE, &why);
	if (!snapshot || !reader_map(reader, &mappings)) {
		status = failed(snapshot ? "the process ended while it was read" : why.text);
	} else if (!is_ready(snapshot)) {
		fprintf(stderr, "qslab: %s: has no heap profile; start it with QSLAB_PROFILE=4M, or 0 to set the rate later\n",
		        reader_name(reader));
		status = 1;
	} else if (rate_text) {
		status = set_rate(reader_name(reader), snapshot, rate);
	} else {
		status = print_profile(target_name(reader, snapshot).text, snapshot, &mappings, format, value, raw, path);
	}
	mappings_free(&mappings);
	snapshot_free(snapshot);
	reader_close(reader);
	return status;
}
