/* Waiting until all that was retired before is free. */
#ifndef QSLAB_RECLAIM_BARRIER_H
#define QSLAB_RECLAIM_BARRIER_H

/* May wait; the caller is no reader meanwhile. `call` names it in an error message. */
void barrier_wait(const char *call);

void barrier_after_fork(void);

#endif
