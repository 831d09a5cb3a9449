/* The switchboard: only in builds with QSLAB_TEST. */
#include "fault.h"

#include <stdlib.h>

static struct fault_board own = {.place = FAULT_PLACES};
static struct fault_board *_Atomic board;

/* Found by the first call, of a constructor's, while there is one thread. */
static struct fault_board *find(void)
{
	const char *fd = getenv("FAULT_BOARD");
	void *shared = fd ? (mmap)(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0) : MAP_FAILED;

	board = shared != MAP_FAILED ? shared : &own;
	return board;
}

bool fault(enum fault_place place, int error)
{
	struct fault_board *at = board ? board : find();
	unsigned call = atomic_fetch_add_explicit(&at->calls[place], 1, memory_order_relaxed) + 1;

	if (place != at->place || call < at->nth || call - at->nth >= at->length)
		return false;
	atomic_fetch_add_explicit(&at->failed, 1, memory_order_relaxed);
	errno = error;
	return true;
}

bool fault_happened(void)
{
	return board && board->failed;
}

void fault_end(void)
{
	own.failed = fault_happened();
	board = &own;
}
