/* What waits for a grace period: deferrers' arrays, the chain, grace periods, readers. */
#define _GNU_SOURCE
#include "reader_parts.h"

#include <time.h>

#define DEFERRERS_MOST 1000000
#define DEFERRER_SIZE_MOST ((size_t)1 << 20)
#define ARRAY_MOST 4096
#define LARGE_SLOTS 32 /* of arrays of large objects, at least */
#define LISTED_MOST ((size_t)1 << 22)
#define LINKS_MOST ((size_t)1 << 21)
#define READERS_MOST 100000
#define TRIES 3

/* Objects found, to be marked once the whole stood still, or would not. */
struct list {
	struct found *found;
	size_t count;
	uint64_t pending; /* entries of pending arrays, those already free included */
};

static void add(struct list *list, struct found found)
{
	GROW(list->found, list->count);
	list->found[list->count++] = found;
}

static void mark_all(struct work *work, const struct list *list)
{
	struct rcu_view *rcu = &work->out->rcu;

	for (size_t i = 0; i < list->count; i++) {
		const struct found *found = &list->found[i];
		uint64_t bytes = mark(work, found);
		if (!bytes)
			continue;
		if (found->place == READY) {
			rcu->ready++;
			rcu->ready_bytes += bytes;
			continue;
		}
		rcu->waiting++;
		rcu->waiting_bytes += bytes;
		rcu->chained += found->interior;
		if (found->cookie && found->cookie <= rcu->completed) {
			rcu->over++;
			rcu->over_bytes += bytes;
		} else if (found->cookie && (!rcu->oldest || found->cookie < rcu->oldest)) {
			rcu->oldest = found->cookie;
		}
	}
}

/* ---- one deferrer ----------------------------------------------------------------------------------------------- */

/* A place in one of its lists of arrays, or at a pending array. */
struct cursor {
	uint64_t at, top;        /* the array's address; of a pending array, its last entry's */
	uint16_t class;
	uint8_t place;
	bool pending;
	char array[ARRAY_MOST];  /* what stands there */
};

/* Bytes of an array of the class, at least so many. */
static size_t array_size(const struct work *work, unsigned class)
{
	size_t slots = work->out->classes[class].size ? work->out->classes[class].capacity : LARGE_SLOTS;
	size_t size = work->segment->array.slots + (slots + 1) * 8;

	return size < ARRAY_MOST ? size : ARRAY_MOST;
}

/* Its objects: slots first + 1 to count, at least one but in a pending array. False if it cannot be an array of the class. */
static bool take_array(const struct work *work, struct list *list, const struct cursor *cursor)
{
	const struct qslab_segment_array *offsets = &work->segment->array;
	uint64_t count = half_at(cursor->array, offsets->count), cookie = word_at(cursor->array, offsets->cookie);
	uint32_t first = half_at(cursor->array, offsets->first);

	if (cursor->pending) {
		count = (cursor->top - cursor->at - offsets->slots) / 8;
		cookie = 0;
	}
	if (count >= ARRAY_MOST / 8 || offsets->slots + (count + 1) * 8 > array_size(work, cursor->class) || first > count ||
	    (first == count && !cursor->pending))
		return false;
	uint16_t class = cursor->class == work->segment->classes.large ? 0 : cursor->class;
	for (uint64_t i = first + 1; i <= count; i++) {
		uint32_t slot = offsets->slots + (uint32_t)i * 8;
		add(list, (struct found){word_at(cursor->array, slot), cursor->at + slot, cookie, class, cursor->place, false});
	}
	list->pending += cursor->pending ? count : 0;
	return true;
}

/* One array of each list at a time. False: a list ended where none may. */
static bool walk(struct work *work, struct list *list, struct cursor *cursors, size_t count)
{
	struct piece *pieces = need(malloc((count + 1) * sizeof *pieces));
	bool whole = true;

	while (count && list->count < LISTED_MOST) {
		size_t left = 0;
		for (size_t i = 0; i < count; i++)
			pieces[i] = (struct piece){cursors[i].at, cursors[i].array, array_size(work, cursors[i].class), false};
		if (!source_read_pieces(work->source, pieces, count))
			break;
		for (size_t i = 0; i < count; i++) {
			if (!pieces[i].got || !take_array(work, list, &cursors[i])) {
				whole = false;
				continue;
			}
			uint64_t next = cursors[i].pending ? 0 : word_at(cursors[i].array, work->segment->array.next);
			if (!next)
				continue;
			cursors[left] = cursors[i];
			cursors[left++].at = next;
		}
		count = left;
	}
	free(pieces);
	return whole && !count;
}

/* A deferrer: its struct, as far as classes were ever used, and the queues of these classes, one after the other. */
struct deferrer {
	char *bytes, *queues;
};

static bool read_struct(struct work *work, uint64_t at, size_t size, struct deferrer *to)
{
	const struct qslab_segment_deferrers *offsets = &work->segment->deferrers;
	size_t own = work->segment->classes.own, stride = offsets->queue_stride, end = work->out->class_count;

	if (!source_read(work->source, at, to->bytes, size))
		return false;
	memcpy(to->queues, to->bytes + offsets->queues, (end < own ? end : own) * stride);
	for (size_t class = own; class < end; class++) {
		uint64_t queue = read_word(work, at + offsets->own_queues + (class - own) * 8);
		if (!queue || !source_read(work->source, queue, to->queues + class * stride, stride))
			memset(to->queues + class * stride, 0, stride);
	}
	return true;
}

/* Between two readings of it: what must not have changed. */
static bool same(const struct work *work, const struct deferrer *a, const struct deferrer *b)
{
	const struct qslab_segment_deferrers *offsets = &work->segment->deferrers;

	if (half_at(a->bytes, offsets->lock) || half_at(b->bytes, offsets->lock) ||
	    word_at(a->bytes, offsets->sealed_objects) != word_at(b->bytes, offsets->sealed_objects) ||
	    word_at(a->bytes, offsets->reclaimed) != word_at(b->bytes, offsets->reclaimed))
		return false;
	for (size_t class = 1; class < work->out->class_count; class++) {
		const size_t pending = offsets->pending + class * offsets->pending_stride;
		const char *x = a->queues + class * offsets->queue_stride, *y = b->queues + class * offsets->queue_stride;
		if (word_at(a->bytes + pending, offsets->top) != word_at(b->bytes + pending, offsets->top) ||
		    word_at(a->bytes + pending, offsets->array) != word_at(b->bytes + pending, offsets->array) ||
		    word_at(x, offsets->head) != word_at(y, offsets->head) ||
		    word_at(x, offsets->ready) != word_at(y, offsets->ready) ||
		    word_at(x, offsets->surplus) != word_at(y, offsets->surplus) ||
		    half_at(x, offsets->arrays) != half_at(y, offsets->arrays))
			return false;
	}
	return true;
}

/* The pending array and the lists of a class; returns how many cursors that took. */
static size_t begin_class(const struct work *work, const struct deferrer *deferrer, unsigned class, struct cursor *cursors)
{
	const struct qslab_segment_deferrers *offsets = &work->segment->deferrers;
	const char *pending = deferrer->bytes + offsets->pending + class * offsets->pending_stride;
	const char *queue = deferrer->queues + class * offsets->queue_stride;
	const struct {
		uint64_t at;
		enum place place;
	} lists[] = {
		{word_at(pending, offsets->array), WAITING},
		{word_at(queue, offsets->head), WAITING},
		{word_at(queue, offsets->ready), READY},
		{word_at(queue, offsets->surplus), READY},
	};
	size_t count = 0;

	for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
		if (!lists[i].at)
			continue;
		cursors[count].at = lists[i].at;
		cursors[count].top = word_at(pending, offsets->top);
		cursors[count].class = (uint16_t)class;
		cursors[count].place = (uint8_t)lists[i].place;
		cursors[count++].pending = i == 0;
	}
	return count;
}

static uint64_t waiting_of(const struct list *list)
{
	uint64_t waiting = 0;
	for (size_t i = 0; i < list->count; i++)
		waiting += list->found[i].place == WAITING;
	return waiting;
}

/* `now` and `after` have room for a deferrer, of which `size` bytes are looked at; `cursors` for four a class. */
static bool read_deferrer(struct work *work, uint64_t at, size_t size, struct deferrer *now, struct deferrer *after,
                          struct cursor *cursors)
{
	const struct qslab_segment_deferrers *offsets = &work->segment->deferrers;
	struct rcu_view *rcu = &work->out->rcu;
	struct list list = {NULL, 0, 0};
	bool stable = false;

	for (unsigned tries = 0; tries < TRIES && !stable; tries++) {
		size_t count = 0;
		list.count = list.pending = 0;
		free(list.found);
		list.found = NULL;
		if (!read_struct(work, at, size, now))
			return false;
		for (unsigned class = 1; class < work->out->class_count; class++)
			count += begin_class(work, now, class, cursors + count);
		bool whole = walk(work, &list, cursors, count);
		if (!read_struct(work, at, size, after))
			break;
		stable = whole && same(work, now, after);
	}
	uint64_t retired = word_at(now->bytes, offsets->sealed_objects) + list.pending;
	uint64_t reclaimed = word_at(now->bytes, offsets->reclaimed), waiting = waiting_of(&list);
	if (stable && waiting != retired - reclaimed)
		doubt(work, DOUBT_COUNT, at, "deferrer 0x%lx: %lu objects wait, it counts %lu", at, waiting,
		      retired - reclaimed);
	rcu->retired += retired;
	rcu->reclaimed += reclaimed;
	rcu->exchanged += word_at(now->bytes, offsets->exchanged);
	rcu->flushed += word_at(now->bytes, offsets->flushed);
	rcu->deferrers++;
	work->out->torn += !stable;
	mark_all(work, &list);
	free(list.found);
	return !work->source->error;
}

static bool read_deferrers(struct work *work)
{
	const struct qslab_segment_deferrers *offsets = &work->segment->deferrers;
	size_t end = work->out->class_count, own = work->segment->classes.own;
	size_t size = offsets->pending + end * offsets->pending_stride; /* and no further */
	uint64_t at = read_word(work, offsets->first);

	if (!at)
		return true;
	if (size > offsets->size || size > DEFERRER_SIZE_MOST || !within(offsets->next, 8, size) ||
	    !within(offsets->lock, 4, size) || !within(offsets->sealed_objects, 8, size) ||
	    !within(offsets->reclaimed, 8, size) || !within(offsets->exchanged, 8, size) ||
	    !within(offsets->flushed, 8, size) || offsets->queues + own * offsets->queue_stride > size)
		return false;
	size_t queues = end * offsets->queue_stride;
	char *room = need(calloc(2, size + queues + 64));
	struct deferrer now = {room, room + size + 32}, after = {now.queues + queues, now.queues + queues + size + 32};
	struct cursor *cursors = need(malloc(4 * end * sizeof *cursors));
	bool done = true;
	struct round round = {0, 0};
	for (size_t i = 0; at && i < DEFERRERS_MOST && done && !comes_back(&round, at); i++) {
		done = read_deferrer(work, at, size, &now, &after, cursors);
		at = done ? word_at(now.bytes, offsets->next) : 0;
	}
	free(cursors);
	free(room);
	return done;
}

/* ---- the chain --------------------------------------------------------------------------------------------------- */

struct chain {
	uint32_t lock_before, lock_after;
	uint64_t incoming, ripening, cookie, retired, reclaimed;
};

static bool read_heads(struct work *work, struct chain *chain)
{
	const struct qslab_segment_chain *at = &work->segment->chain;
	struct piece pieces[] = {
		{at->lock, &chain->lock_before, 4, false},   {at->incoming, &chain->incoming, 8, false},
		{at->ripening, &chain->ripening, 8, false},  {at->cookie, &chain->cookie, 8, false},
		{at->retired, &chain->retired, 8, false},    {at->reclaimed, &chain->reclaimed, 8, false},
		{at->lock, &chain->lock_after, 4, false},
	};
	return source_read_pieces(work->source, pieces, sizeof pieces / sizeof *pieces);
}

static bool list_links(struct work *work, struct list *list, uint64_t link, uint64_t cookie)
{
	struct round round = {0, 0};

	while (link && list->count < LINKS_MOST && !comes_back(&round, link)) {
		uint64_t next;
		add(list, (struct found){link, 0, cookie, 0, WAITING, true});
		if (!source_read(work->source, link, &next, sizeof next))
			return false;
		link = next;
	}
	return !link;
}

static bool read_chain(struct work *work)
{
	struct rcu_view *rcu = &work->out->rcu;
	struct list list = {NULL, 0, 0};
	struct chain before = {0}, after = {0};
	size_t ripening = 0;
	bool stable = false;

	if (!work->segment->chain.incoming)
		return true;
	for (unsigned tries = 0; tries < TRIES && !stable; tries++) {
		list.count = 0;
		free(list.found);
		list.found = NULL;
		if (!read_heads(work, &before))
			return false;
		bool whole = list_links(work, &list, before.ripening, before.cookie);
		ripening = list.count;
		whole &= list_links(work, &list, before.incoming, 0);
		if (!read_heads(work, &after))
			return false;
		/* more may have come in before what was there */
		stable = whole && !before.lock_before && !before.lock_after && !after.lock_before && !after.lock_after &&
		         before.ripening == after.ripening && before.retired == after.retired &&
		         before.reclaimed == after.reclaimed;
	}
	if (!stable) {
		work->out->torn++;
		list.count = 0; /* links of objects in use again could be anything */
		ripening = 0;
	} else if (ripening != before.retired - before.reclaimed) {
		doubt(work, DOUBT_COUNT, before.ripening, "chain: %zu objects ripen, it counts %lu", ripening,
		      before.retired - before.reclaimed);
	}
	rcu->retired += before.retired + (list.count - ripening);
	rcu->reclaimed += before.reclaimed;
	mark_all(work, &list);
	free(list.found);
	return true;
}

/* ---- grace periods and readers ----------------------------------------------------------------------------------- */

static void read_grace(struct work *work)
{
	const struct qslab_segment_grace *at = &work->segment->grace;
	struct rcu_view *rcu = &work->out->rcu;
	struct timespec now;

	rcu->completed = read_word(work, at->address + at->completed); /* first: never above started */
	rcu->started = read_word(work, at->address + at->started);
	rcu->wanted = read_word(work, at->address + at->wanted);
	int64_t began = (int64_t)read_word(work, at->address + at->began);
	clock_gettime(CLOCK_MONOTONIC, &now);
	rcu->age = -1;
	if (work->source->live && rcu->started > rcu->completed) {
		int64_t age = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - began;
		rcu->age = age > 0 ? age : 0;
	}
	rcu->peak_bytes = read_word(work, at->peak);
	rcu->over_hard = read_word(work, at->over_hard);
	rcu->stalls = read_word(work, at->stalls);
}

static void read_readers(struct work *work)
{
	const struct qslab_segment_readers *at = &work->segment->readers;
	struct rcu_view *rcu = &work->out->rcu;
	uint64_t global = read_word(work, at->global);
	uint64_t counter = global ? read_word(work, global + at->global_counter) : 0;
	uint64_t reader = at->first ? read_word(work, at->first + at->next) : 0;

	for (size_t i = 0; reader && reader != at->first && i < READERS_MOST; i++) {
		uint64_t qsbr = read_word(work, reader + at->qsbr);
		uint64_t seen = qsbr ? read_word(work, qsbr + at->counter) : 0;
		GROW(rcu->readers, rcu->reader_count);
		rcu->readers[rcu->reader_count++] = (struct reader_view){
			.tid = (int)read_half(work, reader + at->tid),
			.online = seen != 0,
			.holds_up = seen && seen != counter && rcu->started > rcu->completed,
		};
		reader = read_word(work, reader + at->next);
	}
}

bool read_rcu(struct work *work)
{
	if (!work->segment->grace.address) {
		work->out->rcu.age = -1;
		return true;
	}
	read_grace(work);
	read_readers(work);
	work->out->stock = read_word(work, work->segment->heaps.stock);
	return !work->pages || (read_deferrers(work) && read_chain(work));
}
