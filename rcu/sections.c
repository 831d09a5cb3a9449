#define _GNU_SOURCE
#define _LGPL_SOURCE
#include "sections.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <urcu/urcu-memb.h> /* for the layout of struct urcu_reader; its inline code is not used */

struct link {
	struct link *next, *prev;  /* lock */
	struct urcu_reader *urcu;  /* const while registered; NULL: not registered */
};

static struct link none = {&none, &none, NULL};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list */
static _Thread_local struct link self[SECTIONS_FLAVORS] __attribute__((tls_model("initial-exec")));

static const char *const reader_names[SECTIONS_FLAVORS] = {"urcu_memb_reader", "urcu_mb_reader"};

static void add(struct link *link)
{
	link->next = none.next;
	link->prev = &none;
	none.next->prev = link;
	none.next = link;
}

void sections_registered(enum sections_flavor flavor)
{
	struct link *link = &self[flavor];

	if (link->urcu || !(link->urcu = dlsym(RTLD_DEFAULT, reader_names[flavor])))
		return;
	pthread_mutex_lock(&lock);
	add(link);
	pthread_mutex_unlock(&lock);
}

void sections_unregister(enum sections_flavor flavor)
{
	struct link *link = &self[flavor];

	if (!link->urcu)
		return;
	pthread_mutex_lock(&lock);
	link->next->prev = link->prev;
	link->prev->next = link->next;
	pthread_mutex_unlock(&lock);
	link->urcu = NULL;
}

static void forget(struct urcu_reader *dead)
{
	dead->node.next->prev = dead->node.prev;
	dead->node.prev->next = dead->node.next;
	dead->ctr = 0;
}

void sections_after_fork(void)
{
	struct link *first = none.next;

	pthread_mutex_init(&lock, NULL);
	none.next = none.prev = &none;
	for (struct link *link = first, *next; link != &none; link = next) {
		next = link->next;
		if (link >= self && link < self + SECTIONS_FLAVORS)
			add(link);
		else
			forget(link->urcu);
	}
}
