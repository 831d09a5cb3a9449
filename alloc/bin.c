#include "bin.h"
#include "slab.h"

void bin_unlink(struct bin *bin, struct slab *slab, bool partial)
{
	if (bin->kept == slab)
		bin->kept = NULL;
	bin->full_count -= !partial;
	if (slab->prev)
		slab->prev->next = slab->next;
	else if (partial)
		bin->partial = slab->next;
	else
		bin->full = slab->next;
	if (slab->next)
		slab->next->prev = slab->prev;
	else if (partial)
		bin->partial_last = slab->prev;
	slab->next = slab->prev = NULL;
}

void bin_add_full(struct bin *bin, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = bin->full;
	if (bin->full)
		bin->full->prev = slab;
	bin->full = slab;
	bin->full_count++;
}

void bin_add_first(struct bin *bin, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = bin->partial;
	if (bin->partial)
		bin->partial->prev = slab;
	else
		bin->partial_last = slab;
	bin->partial = slab;
}

void bin_add_last(struct bin *bin, struct slab *slab)
{
	slab->next = NULL;
	slab->prev = bin->partial_last;
	if (bin->partial_last)
		bin->partial_last->next = slab;
	else
		bin->partial = slab;
	bin->partial_last = slab;
}

void bin_retire(struct bin *bin, struct slab *slab, struct slab **dead)
{
	bin_unlink(bin, slab, true);
	slab_map(slab, false);
	slab->next = *dead;
	*dead = slab;
}

void bin_relist(struct heap *heap, struct slab *slab, unsigned before, bool keep, struct slab **dead)
{
	struct bin *bin = heap_bin(heap, slab->class);
	unsigned now = load_relaxed(&slab->nfree);

	if (before == 0 && now > 0) {
		bin_unlink(bin, slab, false);
		bin_add_last(bin, slab);
	}
	if (now < slab->objects || slab == bin->kept)
		return;
	if (keep && bin->busy && !bin->kept && slab->objects > 1) {
		bin->kept = slab;
		bin->busy = false;
		return;
	}
	bin_retire(bin, slab, dead);
	if (bin->kept && !bin->busy)
		bin_retire(bin, bin->kept, dead);
}

void bin_bury(struct slab *dead)
{
	while (dead) {
		struct slab *next = dead->next;
		slab_destroy(dead);
		dead = next;
	}
}

unsigned bin_take(struct bin *bin, void **end, unsigned want)
{
	unsigned taken = 0;

	bin->busy = true;
	while (taken < want && bin->partial) {
		struct slab *slab = bin->partial;
		if (slab == bin->kept)
			bin->kept = NULL;
		taken += slab_take(slab, end - taken, want - taken);
		if (load_relaxed(&slab->nfree))
			break;
		bin_unlink(bin, slab, true);
		bin_add_full(bin, slab);
	}
	return taken;
}
