/* A plugin with a liburcu of its own, which is loaded for a long time: a symbol of it is resolved when all others are. */
#include <semaphore.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

extern sem_t being_loaded; /* the program's */

static int answer(void)
{
	return urcu_qsbr_read_ongoing();
}

__attribute__((used)) static int (*resolve(void))(void) /* by the loader */
{
	sem_post(&being_loaded);
	usleep(200000);
	return answer;
}

int slow(void) __attribute__((ifunc("resolve"), visibility("hidden")));

int guest_slow(void);
int guest_slow(void)
{
	return slow();
}
