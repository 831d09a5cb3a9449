/*
 * A small TCP key-value server: many readers, and writers that replace values under them.
 *
 *     kv_server PORT       serves: "get KEY\n", "set KEY VALUE\n", "del KEY\n"; answers "VALUE\n", "OK\n" or "-\n"
 *     kv_server            tests itself: serves on a free port, and is its own clients
 *
 * Each of its threads has an epoll set and the connections it accepted. A get is answered straight from the shared
 * table: send() reads the value where it lies, without a copy, a lock or a reference count. That is sound because a
 * thread is quiescent only between requests. While it waits for the network it is offline: no grace period waits for
 * an idle thread. A set puts a new entry in the place of the old one, which is freed when no thread can be sending it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <qslab/rcu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

enum { THREADS = 2, LINE = 4096 };

struct entry {
	struct cds_lfht_node node;
	struct rcu_ptr rcu;
	unsigned key_length, value_length;
	char text[]; /* the key, the value */
};

struct key {
	const char *text;
	unsigned length;
};

static struct cds_lfht *table;

static unsigned long hash(const struct key *key)
{
	unsigned long h = 0xcbf29ce484222325ul;
	for (unsigned i = 0; i < key->length; i++)
		h = (h ^ (unsigned char)key->text[i]) * 0x100000001b3ul;
	return h;
}

static int matches(struct cds_lfht_node *node, const void *wanted)
{
	const struct entry *entry = caa_container_of(node, struct entry, node);
	const struct key *key = wanted;
	return entry->key_length == key->length && !memcmp(entry->text, key->text, key->length);
}

static struct entry *find(const struct key *key)
{
	struct cds_lfht_iter iterator;
	cds_lfht_lookup(table, hash(key), matches, key, &iterator);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iterator);
	return node ? caa_container_of(node, struct entry, node) : NULL;
}

static bool set(const struct key *key, const char *value, unsigned length)
{
	struct entry *entry = qslab_malloc(sizeof *entry + key->length + length);
	if (!entry)
		return false;
	cds_lfht_node_init(&entry->node);
	entry->key_length = key->length;
	entry->value_length = length;
	memcpy(entry->text, key->text, key->length);
	memcpy(entry->text + key->length, value, length);
	struct cds_lfht_node *old = cds_lfht_add_replace(table, hash(key), matches, key, &entry->node);
	if (old) {
		struct entry *replaced = caa_container_of(old, struct entry, node);
		qslab_free_rcu(replaced, rcu);
	}
	return true;
}

/* Answers one line; false if the connection is to end. Requests are short, and a socket's buffer takes an answer. */
static bool answer(int fd, char *line, unsigned length)
{
	struct key key = {.text = line + 4, .length = length > 4 ? length - 4 : 0};
	struct iovec parts[2] = {{"-", 1}, {"\n", 1}};
	bool read = !strncmp(line, "get ", 4), written = !strncmp(line, "set ", 4), removed = !strncmp(line, "del ", 4);

	rcu_read_lock();
	if (written) {
		char *space = memchr(key.text, ' ', key.length);
		unsigned value = space ? (unsigned)(space + 1 - key.text) : 0;
		key.length = value ? value - 1 : 0;
		if (space && set(&key, space + 1, length - 4 - value))
			parts[0] = (struct iovec){"OK", 2};
	} else if (read || removed) {
		struct entry *entry = find(&key);
		if (entry && read)
			parts[0] = (struct iovec){entry->text + entry->key_length, entry->value_length};
		if (entry && removed && !cds_lfht_del(table, &entry->node)) {
			qslab_free_rcu(entry, rcu);
			parts[0] = (struct iovec){"OK", 2};
		}
	}
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL); /* from the entry itself */
	rcu_read_unlock();
	return (read || written || removed) && sent == (ssize_t)(parts[0].iov_len + 1);
}

struct connection {
	int fd;
	unsigned used;
	char buffer[LINE];
};

/* Reads what is there and answers every whole line of it. */
static bool attend(struct connection *c)
{
	ssize_t got = recv(c->fd, c->buffer + c->used, sizeof c->buffer - c->used, MSG_DONTWAIT);
	if (got <= 0)
		return false;
	c->used += (unsigned)got;
	char *at = c->buffer, *end = c->buffer + c->used, *newline;
	while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
		*newline = '\0';
		if (!answer(c->fd, at, (unsigned)(newline - at)))
			return false;
		at = newline + 1;
	}
	memmove(c->buffer, at, c->used = (unsigned)(end - at));
	return c->used < sizeof c->buffer; /* else: a line too long */
}

static void *serve(void *argument)
{
	int listener = *(int *)argument, set_fd = epoll_create1(0), ready;
	struct epoll_event events[64], event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL};

	rcu_register_thread();
	epoll_ctl(set_fd, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		rcu_thread_offline();
		ready = epoll_wait(set_fd, events, 64, -1);
		rcu_thread_online();
		for (int i = 0; i < ready; i++, rcu_quiescent_state()) {
			struct connection *c = events[i].data.ptr;
			if (c && !attend(c)) {
				close(c->fd);
				qslab_free(c);
			} else if (!c && (c = qslab_malloc(sizeof *c))) {
				c->used = 0;
				c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				event = (struct epoll_event){.events = EPOLLIN, .data.ptr = c};
				if (c->fd < 0 || epoll_ctl(set_fd, EPOLL_CTL_ADD, c->fd, &event))
					qslab_free(c);
			}
		}
	}
	return NULL;
}

#include "kv_client.h"

int main(int count, char **arguments)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                              .sin_port = htons(count > 1 ? (unsigned short)atoi(arguments[1]) : 0)};
	socklen_t length = sizeof address;
	pthread_t thread;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 100) ||
	    getsockname(listener, (struct sockaddr *)&address, &length)) {
		perror("kv_server");
		return 1;
	}
	table = cds_lfht_new_flavor(1024, 1024, 0, CDS_LFHT_AUTO_RESIZE, &urcu_qsbr_flavor, NULL);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, serve, &listener))
			abort();
	return count > 1 ? pthread_join(thread, NULL) : kv_self_test(ntohs(address.sin_port));
}
