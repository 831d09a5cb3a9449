/* Waiting until all that was retired before is free. */
#ifndef QSLAB_RECLAIM_BARRIER_H
#define QSLAB_RECLAIM_BARRIER_H

/* For objects of one class, or of all for CLASS_NONE. Waits; the caller is no reader meanwhile. `call` is for errors. */
void barrier_wait(const char *call, unsigned class);

void barrier_after_fork(void);

#endif
