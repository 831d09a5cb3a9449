/* The heap walk finds exactly the live and the deferred objects; statistics agree with it, and their texts parse. */
#include "retire.h"

#include <errno.h>
#include <qslab/stats.h>

enum { MOST = 20000 };

static struct seen {
	void *object;
	size_t size;
	enum qslab_object_state state;
} seen[2 * MOST];
static int seen_count, stop_at;

static int see(void *object, size_t size, enum qslab_object_state state, void *argument)
{
	cr_assert_eq(argument, seen);
	cr_assert_leq(seen_count, 2 * MOST - 1);
	cr_assert(!seen_count || seen[seen_count - 1].object < object, "not by rising addresses");
	seen[seen_count++] = (struct seen){object, size, state};
	return seen_count == stop_at;
}

static int walk(struct qslab_cache *cache)
{
	seen_count = 0;
	long calls = qslab_heap_walk(cache, see, seen);
	cr_assert_eq(calls, seen_count);
	return seen_count;
}

static struct seen *find(const void *object)
{
	for (int from = 0, to = seen_count; from < to;) {
		int middle = (from + to) / 2;
		if (seen[middle].object == object)
			return &seen[middle];
		if (seen[middle].object < object)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

enum fate { LIVE, FREED, RETIRED };

static struct {
	void *object;
	enum fate fate;
} made[MOST];

static void *frees_some(void *argument)
{
	for (int i = 0; i < MOST; i++)
		if (made[i].fate == LIVE && i % 7 == 3) {
			qslab_free(made[i].object);
			made[i].fate = FREED;
		}
	return NULL;
}

/* A reader holds on, so that what is retired waits. */
static void fill_heap(struct qslab_cache *cache)
{
	uint64_t random = 5;

	for (int i = 0; i < MOST; i++) {
		size_t size = i % 1000 == 77 ? 300000 + (size_t)i * 8 : next_random(&random) % 3000 + 8;
		made[i].object = i % 3 ? qslab_malloc(size) : qslab_cache_alloc(cache);
		made[i].fate = LIVE;
	}
	for (int i = 0; i < MOST; i++) {
		switch (next_random(&random) % 4) {
		case 0:
			qslab_free(made[i].object);
			made[i].fate = FREED;
			break;
		case 1:
			calls[next_random(&random) % 7].retire(made[i].object, made[i].object);
			made[i].fate = RETIRED;
			break;
		}
	}
	pthread_t thread;
	pthread_create(&thread, NULL, frees_some, NULL);
	pthread_join(thread, NULL);
}

static atomic_bool leave, inside;

static void *holds(void *nothing)
{
	urcu_qsbr_register_thread();
	atomic_store(&inside, true);
	while (!atomic_load(&leave))
		pause_ms(1);
	urcu_qsbr_unregister_thread();
	return NULL;
}

Test(walk, exactly_the_live_objects)
{
	struct qslab_cache *cache = qslab_cache_create("walked", 88, 0, QSLAB_CACHE_ISOLATE, NULL);
	int others = walk(NULL);
	struct seen before[64];
	pthread_t reader;

	cr_assert_leq(others, 64);
	memcpy(before, seen, sizeof before);
	pthread_create(&reader, NULL, holds, NULL);
	AWAIT(atomic_load(&inside));
	fill_heap(cache);

	int expected = others, deferred = 0, of_cache = 0;
	walk(NULL);
	for (int i = 0; i < MOST; i++) {
		struct seen *found = find(made[i].object);
		if (made[i].fate == FREED) {
			cr_assert_null(found, "a free object was found");
			continue;
		}
		cr_assert(found, "object %d was not found", i);
		cr_assert_eq(found->size, qslab_usable_size(made[i].object), "object %d: %zu bytes, not %zu", i, found->size,
		             qslab_usable_size(made[i].object));
		cr_assert_eq(found->state, made[i].fate == LIVE ? QSLAB_OBJECT_LIVE : QSLAB_OBJECT_DEFERRED);
		expected++;
		deferred += made[i].fate == RETIRED;
		of_cache += i % 3 == 0;
	}
	for (int i = 0; i < others; i++)
		cr_assert(find(before[i].object));
	cr_assert_eq(seen_count, expected, "%d found, %d there", seen_count, expected);

	struct qslab_cache_stats now;
	qslab_cache_stats(cache, &now);
	cr_assert_eq(walk(cache), of_cache);
	cr_assert_eq((int)(now.live + now.deferred), of_cache);
	for (int i = 0; i < seen_count; i++)
		cr_assert_eq(seen[i].size, 88);
	cr_assert_eq((int)stats().waiting, deferred);
	stop_at = 10;
	cr_assert_eq(walk(NULL), 10);
	stop_at = 0;

	atomic_store(&leave, true);
	pthread_join(reader, NULL);
	qslab_rcu_barrier();
	cr_assert_eq(walk(NULL), expected - deferred);
	for (int i = 0; i < MOST; i++)
		if (made[i].fate == LIVE)
			qslab_free(made[i].object);
	cr_assert_eq(walk(NULL), others);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

static int frees(void *object, size_t size, enum qslab_object_state state, void *cache)
{
	qslab_free(qslab_malloc(size));
	qslab_cache_free(cache, object);
	return 0;
}

static int count_live(void *object, size_t size, enum qslab_object_state state, void *live)
{
	*(size_t *)live += state == QSLAB_OBJECT_LIVE;
	return 0;
}

/* Beside the reclaimer at work a retired object is deferred or free, and never taken for a live one. */
Test(walk, beside_the_reclaimer)
{
	struct qslab_cache *cache = qslab_cache_create("retired", 64, 0, QSLAB_CACHE_ISOLATE, NULL);
	struct qslab_rcu_stats rcu;

	for (int turn = 0; turn < 8; turn++) {
		for (int i = 0; i < MOST / 2; i++)
			cr_assert_eq(qslab_cache_free_rcu(cache, (made[i].object = qslab_cache_alloc(cache))), 0);
		do {
			size_t live = 0;
			struct qslab_cache_stats stats;
			cr_assert_geq(qslab_heap_walk(cache, count_live, &live), 0);
			cr_assert_eq(live, 0, "%zu retired objects are said to be live", live);
			qslab_cache_stats(cache, &stats);
			cr_assert_eq(stats.live + stats.deferred + stats.magazines + stats.ready + stats.slab_free, stats.total);
			qslab_rcu_stats(&rcu);
		} while (rcu.waiting);
	}
	cr_assert_eq(qslab_cache_destroy(cache), 0);
}

Test(walk, visit_may_allocate_and_free)
{
	struct qslab_cache *cache = qslab_cache_create("walked", 40, 0, QSLAB_CACHE_ISOLATE, NULL);
	for (int i = 0; i < 3000; i++)
		qslab_cache_alloc(cache);
	cr_assert_eq(qslab_heap_walk(cache, frees, cache), 3000);
	cr_assert_eq(walk(cache), 0);
	cr_assert_eq(qslab_cache_destroy(cache), 0);
	struct qslab_cache *merged = qslab_cache_create("merged", 40, 0, 0, NULL);
	errno = 0;
	cr_assert_eq(qslab_heap_walk(merged, see, seen), -1);
	cr_assert_eq(errno, EINVAL);
	cr_assert_eq(qslab_cache_destroy(merged), 0);
}

enum { GOING = 5000 };
static void *going[GOING];
static size_t going_size[GOING];

/* All go at the first visit, with their memory. */
static int goes(void *object, size_t size, enum qslab_object_state state, void *visits)
{
	static bool gone;
	int number = 0;

	while (number < GOING && going[number] != object)
		number++;
	if (number == GOING)
		return 0;
	cr_assert_eq(size, going_size[number], "%zu bytes, not %zu", size, going_size[number]);
	++*(int *)visits;
	for (int i = 0; i < GOING && !gone; i++)
		qslab_free(going[i]);
	if (!gone)
		qslab_trim();
	gone = true;
	return 0;
}

/* What a visit says was there before the first one: the object may be gone, and its slab. */
Test(walk, visit_of_what_is_gone)
{
	int visits = 0;

	for (int i = 0; i < GOING; i++) {
		going[i] = qslab_malloc(900 + (size_t)i % 200);
		going_size[i] = qslab_usable_size(going[i]);
	}
	cr_assert_geq(qslab_heap_walk(NULL, goes, &visits), GOING);
	cr_assert_eq(visits, GOING);
}

/* ---- statistics ----------------------------------------------------------------------------------------------------- */

/* Characters of each length; what is none: too long a form, a surrogate, beyond the last one, halves; cuts at 31 bytes. */
static const char *const names[] = {
	"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xef\xbf\xbf \xf4\x8f\xbf\xbf", "a\x7f\x01\t\r\x1b",
	"\xc3 \xa4 \xc1\xa4 \xe0\x9f\xbf", "\xed\xa0\x80 \xf0\x8f\xbf\xbf \xf4\x90\x80\x80 \xff \xe2\x82",
	"123456789012345678901234567890\xc3\xa4", "12345678901234567890123456789\xe2\x82\xac",
	"1234567890123456789012345678\xf0\x9f\x98\x80", "12345678901234567890123456789\xc3\xa4",
	"123456789012345678901234567\x80\x80\x80\x80\x80",
};

/* Of Python: what they are called in the texts. */
#define NAMES_READ \
	"names = [\"\\u00e4 \\u20ac \\U0001f600 \\ud7ff \\uffff \\U0010ffff\", \"a\\x7f\\x01\\t\\r\\x1b\", " \
	"\"X X XX XXX\".replace(\"X\", \"\\ufffd\"), \"XXX XXXX XXXX X XX\".replace(\"X\", \"\\ufffd\"), " \
	"\"123456789012345678901234567890\", \"12345678901234567890123456789\", \"1234567890123456789012345678\", " \
	"\"12345678901234567890123456789\\u00e4\", \"123456789012345678901234567\" + \"\\ufffd\" * 4]\n"

/* The test's thread is a reader from here on: what is retired waits, however long the test takes. */
static struct qslab_cache *some_caches(void)
{
	static void *objects[1000];

	urcu_qsbr_register_thread();
	struct qslab_cache *cache = qslab_cache_create("quote \" back \\ line \n \xc3\xa4", 88, 0, QSLAB_CACHE_ISOLATE, NULL);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		qslab_cache_create(names[i], 64, 0, 0, NULL);
	qslab_cache_create("plain", 64, 0, 0, NULL);
	qslab_cache_create("same", 64, 64, QSLAB_CACHE_TYPESAFE_BY_RCU, NULL);
	qslab_cache_create("same", 64, 64, QSLAB_CACHE_RCU, NULL);
	qslab_cache_alloc_bulk(cache, 1000, objects);
	qslab_cache_free_bulk(cache, 300, objects);
	for (int i = 300; i < 350; i++)
		cr_assert_eq(qslab_cache_free_rcu(cache, objects[i]), 0);
	return cache;
}

Test(stats, struct_by_size)
{
	struct qslab_stats now;
	struct { struct qslab_stats known; uint64_t later; } newer;

	some_caches();
	memset(&newer, 255, sizeof newer);
	qslab_stats((struct qslab_stats *)&newer, sizeof newer);
	cr_assert_eq(newer.known.version, QSLAB_STATS_VERSION);
	cr_assert_eq(newer.known.size, sizeof now);
	cr_assert_eq(newer.later, 0);
	cr_assert_eq(newer.known.caches, 4 + sizeof names / sizeof *names);
	cr_assert_eq(newer.known.live_bytes, live());
	cr_assert_eq(newer.known.retired, newer.known.reclaimed + newer.known.waiting);
	memset(&now, 255, sizeof now);
	qslab_stats(&now, 16);
	cr_assert_eq(now.size, 16);
	cr_assert_eq(now.live_bytes, newer.known.live_bytes);
	cr_assert_eq(now.live_large_bytes, UINT64_MAX);
}

/* Cut at any length: what was written is the whole's beginning, and ends in 0. */
static char *text_of(size_t (*write)(char *, size_t))
{
	static char whole[1 << 16], cut[1 << 16];
	size_t length = write(whole, sizeof whole);

	cr_assert(length < sizeof whole && strlen(whole) == length);
	cr_assert_eq(write(NULL, 0), length);
	for (size_t size = 1; size <= length; size += 97) {
		memset(cut, 1, sizeof cut);
		cr_assert_eq(write(cut, size), length);
		cr_assert(strlen(cut) == size - 1 && cut[size] == 1);
	}
	return whole;
}

static void check_with(const char *script, const char *text)
{
	FILE *python = popen(script, "w");
	cr_assert(python && fputs(text, python) >= 0);
	cr_assert_eq(pclose(python), 0, "refused: %s\n%s", script, text);
}

Test(stats, json_parses)
{
	if (system("python3 -c ''"))
		return;
	some_caches();
	const char *text = text_of(qslab_stats_json);
	check_with("python3 -m json.tool >/dev/null", text);
	check_with("python3 -c 'import json, sys\n" NAMES_READ
	           "s = json.loads(sys.stdin.buffer.read().decode())\n"
	           "c = {x[\"name\"]: x for x in s[\"cache_list\"]}\n"
	           "q = c[\"quote \\\" back \\\\ line \\n \\u00e4\"]\n"
	           "assert s[\"version\"] == 1 and s[\"caches\"] == 4 + len(names) == len(s[\"cache_list\"])\n"
	           "assert [n for n in names if n not in c] == [], list(c)\n"
	           "assert q[\"live\"] == 650 and q[\"deferred\"] == 50 and not q[\"merged\"] and q[\"stride\"] == 88\n"
	           "assert q[\"total\"] == sum(q[k] for k in (\"live\", \"deferred\", \"magazines\", \"ready\", \"slab_free\"))\n"
	           "assert c[\"plain\"][\"merged\"] and s[\"live_bytes\"] >= 650 * 88'", text);
}

Test(stats, prometheus_text)
{
	if (system("python3 -c ''"))
		return;
	some_caches();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		qslab_cache_create(names[i], 64, 0, QSLAB_CACHE_ISOLATE, NULL); /* merged ones are not there */
	check_with("python3 -c 'import re, sys\n" NAMES_READ
	           "names.append(\"quote \\\\\\\" back \\\\\\\\ line \\\\n \\u00e4\")\n"
	           "series, typed, named = set(), {}, set()\n"
	           "for line in sys.stdin.buffer.read().decode().split(\"\\n\")[:-1]:\n"
	           "    line += \"\\n\"\n"
	           "    if line.startswith(\"# TYPE \"):\n"
	           "        name, kind = line.split()[2:]\n"
	           "        assert name not in typed and kind in (\"gauge\", \"counter\")\n"
	           "        assert (kind == \"counter\") == name.endswith(\"_total\")\n"
	           "        typed[name] = kind\n"
	           "    elif not line.startswith(\"# HELP \"):\n"
	           "        m = re.fullmatch(r\"(qslab_[a-z_]+)(\\{(?:[a-z]+=\\\"(?:[^\\\"\\\\]|\\\\.)*\\\",?)+\\})? ([0-9]+)\\n\", line)\n"
	           "        assert m and m[1] in typed, line\n"
	           "        assert (m[1], m[2]) not in series, line\n"
	           "        series.add((m[1], m[2]))\n"
	           "        cache = re.match(r\"\\{cache=\\\"((?:[^\\\"\\\\]|\\\\.)*)\\\"\", m[2] or \"\")\n"
	           "        named.add(cache and cache[1])\n"
	           "assert [n for n in names if n not in named] == [], named\n"
	           "assert len(series) > 30'", text_of(qslab_stats_prometheus));
}
