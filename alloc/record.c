#define _GNU_SOURCE
#include "record.h"

#include <sys/mman.h>

#define SHARDS 64
#define FIRST_CAPACITY 256

struct table {
	size_t capacity; /* const: a power of two */
	size_t used;
	struct record records[];
};

static struct shard {
	_Alignas(CACHE_LINE) struct lock lock;
	struct table *table; /* lock; replaced by one store, so that a forked child finds the old or the new */
} shards[SHARDS];

static _Thread_local bool busy __attribute__((tls_model("initial-exec")));

static struct shard *lock_shard(uint64_t hash)
{
	struct shard *shard = &shards[hash % SHARDS];

	busy = true;
	atomic_signal_fence(memory_order_seq_cst);
	lock_take(&shard->lock);
	return shard;
}

static void unlock_shard(struct shard *shard)
{
	lock_drop(&shard->lock);
	atomic_signal_fence(memory_order_seq_cst);
	busy = false;
}

static uint64_t hash_of(uintptr_t object)
{
	uint64_t hash = (object >> 4) * 0x9e3779b97f4a7c15;
	return hash >> 32 ^ hash >> 16;
}

/* Its record, or the empty one where it belongs. */
static struct record *look(struct table *table, uintptr_t object)
{
	size_t mask = table->capacity - 1;
	size_t at = hash_of(object) / SHARDS & mask;

	while (table->records[at].object && table->records[at].object != object)
		at = (at + 1) & mask;
	return &table->records[at];
}

static size_t table_bytes(size_t capacity)
{
	return sizeof(struct table) + capacity * sizeof(struct record);
}

/* Lock held. Room for one more; false without memory. */
static bool grow(struct shard *shard)
{
	struct table *old = shard->table;
	size_t capacity = old ? old->capacity * 2 : FIRST_CAPACITY;

	if (old && (old->used + 1) * 4 <= old->capacity * 3)
		return true;
	struct table *new = mmap(NULL, table_bytes(capacity), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (new == MAP_FAILED)
		return false;
	new->capacity = capacity;
	if (old) {
		new->used = old->used;
		for (size_t i = 0; i < old->capacity; i++)
			if (old->records[i].object)
				*look(new, old->records[i].object) = old->records[i];
	}
	shard->table = new;
	if (old)
		munmap(old, table_bytes(old->capacity));
	return true;
}

/* Lock held. Its record, an empty one made its own, or NULL without memory: never if it has one. */
static struct record *get(struct shard *shard, uintptr_t object)
{
	struct record *record = shard->table ? look(shard->table, object) : NULL;

	if (record && record->object)
		return record;
	if (!grow(shard))
		return NULL;
	record = look(shard->table, object);
	record->object = object;
	shard->table->used++;
	return record;
}

void record_alloc(const void *object, size_t size, const struct event *event)
{
	struct shard *shard = lock_shard(hash_of((uintptr_t)object));
	struct record *record = get(shard, (uintptr_t)object);
	if (record)
		*record = (struct record){(uintptr_t)object, size, *event, {0}, RECORD_LIVE, false};
	unlock_shard(shard);
}

bool record_change(const void *object, size_t size, enum record_state from, enum record_state to,
                   const struct event *event, struct record *before)
{
	struct shard *shard = lock_shard(hash_of((uintptr_t)object));
	struct record *record = get(shard, (uintptr_t)object);
	bool done = true;

	if (record) {
		if (record->state == RECORD_NONE) {
			record->state = RECORD_LIVE;
			record->size = size;
		}
		if (before)
			*before = *record;
		done = record->state == from;
	} else if (before) {
		*before = (struct record){.object = (uintptr_t)object, .size = size, .state = from};
	}
	if (record && done) {
		record->state = to;
		record->retired = to == RECORD_RETIRED || (from != RECORD_LIVE && record->retired);
		if (event)
			record->ended = *event;
	}
	unlock_shard(shard);
	return done;
}

bool record_find(const void *object, struct record *record)
{
	struct shard *shard = lock_shard(hash_of((uintptr_t)object));
	bool found = false;

	if (shard->table) {
		*record = *look(shard->table, (uintptr_t)object);
		found = record->object != 0;
	}
	unlock_shard(shard);
	return found;
}

bool record_is_busy(void)
{
	return busy;
}

void record_after_fork(void)
{
	for (unsigned i = 0; i < SHARDS; i++)
		lock_drop(&shards[i].lock);
}
