/* A plugin with readers of its own, by whatever liburcu it is linked with; its constructor waits for a thread that registers. */
#define URCU_API_MAP
#include READERS
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <unistd.h>

static sem_t inside;
static volatile bool left;
static pthread_t thread;

static void *registers(void *unused)
{
	(void)unused;
	rcu_register_thread();
	sem_post(&inside);
	rcu_unregister_thread();
	return NULL;
}

__attribute__((constructor)) static void start(void)
{
	sem_init(&inside, 0, 0);
	pthread_create(&thread, NULL, registers, NULL);
	sem_wait(&inside); /* not join: the loader's lock is held */
}

static void *reads(void *unused)
{
	(void)unused;
	rcu_register_thread();
	rcu_read_lock();
	sem_post(&inside);
	usleep(100000);
	left = true;
	rcu_read_unlock();
	rcu_unregister_thread();
	return NULL;
}

void guest_start(void);
void guest_start(void)
{
	pthread_join(thread, NULL);
	left = false;
	pthread_create(&thread, NULL, reads, NULL);
	sem_wait(&inside);
}

/* Its last call may be made by a jump: then the caller is who called this. */
void guest_synchronize(void);
void guest_synchronize(void)
{
	synchronize_rcu();
}

bool guest_end(void);
bool guest_end(void)
{
	bool waited = left;
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, registers, NULL); /* for the next start */
	sem_wait(&inside);
	return waited;
}
