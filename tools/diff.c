/* qslab diff: what grew from one recording to another, or from a recording's first line to its last. */
#define _GNU_SOURCE
#include "command.h"
#include "format.h"
#include "text.h"
#include "recording.h"

#include <inttypes.h>
#include <stdlib.h>

struct change {
	const char *name;
	struct key key;              /* of the objects, where there is no name */
	uint64_t before, after;      /* bytes */
	int64_t objects;             /* more, of objects by size */
};

static int by_amount(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	int64_t p = (int64_t)(x->after - x->before), q = (int64_t)(y->after - y->before);
	return p > q ? -1 : p < q;
}

static void print_row(const char *name, uint64_t before, uint64_t after, const char *more)
{
	int width = text_columns(name);

	printf("%s%*s %12s %12s %12s%s\n", name, width < 34 ? 34 - width : 0, "", human_bytes(before).text,
	       human_bytes(after).text, human_change((int64_t)(after - before)).text, more);
}

static void print_memory(const struct sample *a, const struct sample *b)
{
	struct change list[KINDS];
	size_t count = 0;

	printf("\n%-34s %12s %12s %12s\n", "resident", "before", "after", "change");
	for (unsigned kind = 0; kind < KINDS; kind++)
		if (a->kinds[kind] != b->kinds[kind])
			list[count++] = (struct change){.name = kind_text(kind), .before = a->kinds[kind], .after = b->kinds[kind]};
	qsort(list, count, sizeof *list, by_amount);
	print_row("all (RSS)", a->rss, b->rss, "");
	for (size_t i = 0; i < count; i++)
		print_row(list[i].name, list[i].before, list[i].after, "");
}

static void add_objects(struct change **list, size_t *count, const struct key *key, const struct sample *a, const struct sample *b)
{
	static const struct sample_row none;
	const struct sample_row *before = sample_row(a, key), *after = sample_row(b, key);

	before = before ? before : &none;
	after = after ? after : &none;
	if (before->live == after->live && before->live_bytes == after->live_bytes)
		return;
	*list = need(realloc(*list, (*count + 1) * sizeof **list));
	(*list)[(*count)++] = (struct change){.key = *key, .before = before->live_bytes, .after = after->live_bytes,
	                                      .objects = (int64_t)(after->live - before->live)};
}

static void print_objects(const struct sample *a, const struct sample *b)
{
	struct change *list = NULL;
	size_t count = 0;

	for (size_t i = 0; i < b->row_count; i++)
		add_objects(&list, &count, &b->rows[i].key, a, b);
	for (size_t i = 0; i < a->row_count; i++)
		if (!sample_row(b, &a->rows[i].key))
			add_objects(&list, &count, &a->rows[i].key, a, b);
	if (!count)
		return;
	qsort(list, count, sizeof *list, by_amount);
	printf("\n%-34s %12s %12s %12s %12s\n", "live", "before", "after", "change", "objects");
	for (size_t i = 0; i < count; i++) {
		char more[32];
		snprintf(more, sizeof more, " %+12" PRId64, list[i].objects);
		print_row(key_objects(&list[i].key).text, list[i].before, list[i].after, more);
	}
	free(list);
}

static void print_count(const char *name, uint64_t before, uint64_t after)
{
	if (before != after)
		printf("%-34s %12" PRIu64 " %12" PRIu64 " %+12" PRId64 "\n", name, before, after, (int64_t)(after - before));
}

static void print_deferred(const struct sample *a, const struct sample *b)
{
	if (!a->retired && !b->retired)
		return;
	printf("\n%-34s %12s %12s %12s\n", "deferred free", "before", "after", "change");
	print_row("waiting for a grace period", a->waiting_bytes, b->waiting_bytes, "");
	print_row("free again, kept in arrays", a->ready_bytes, b->ready_bytes, "");
	print_count("objects waiting", a->waiting, b->waiting);
	print_count("objects retired", a->retired, b->retired);
	print_count("objects reclaimed", a->reclaimed, b->reclaimed);
	print_count("grace periods", a->completed, b->completed);
}

static void print_diff(const char *name_a, const struct sample *a, const char *name_b, const struct sample *b)
{
	printf("before: %s, process %d (%s), at %s\nafter:  %s, process %d (%s), at %s\n", name_a, a->pid, a->command,
	       human_seconds(a->seconds).text, name_b, b->pid, b->command, human_seconds(b->seconds).text);
	print_memory(a, b);
	print_objects(a, b);
	print_deferred(a, b);
}

int command_diff(int count, char **arguments)
{
	struct recording a, b = {NULL, 0};
	struct words words;
	struct failure why;

	if (!parse_arguments("diff", count, arguments, NULL, 0, &words, 1, 2, "no recording given"))
		return 2;
	if (!recording_load(&a, words.list[0], &why))
		return failed(why.text);
	if (words.count == 2 && !recording_load(&b, words.list[1], &why)) {
		recording_free(&a);
		return failed(why.text);
	}
	if (words.count == 2)
		print_diff(words.list[0], &a.samples[a.count - 1], words.list[1], &b.samples[b.count - 1]);
	else
		print_diff(words.list[0], &a.samples[0], words.list[0], &a.samples[a.count - 1]);
	recording_free(&a);
	recording_free(&b);
	return finish_output();
}
