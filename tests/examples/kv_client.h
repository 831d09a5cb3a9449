/* kv_server's self-test: clients that get, set and delete at once, and check that no answer is a mixture. */
#ifndef KV_CLIENT_H
#define KV_CLIENT_H

enum { CLIENTS = 8, REQUESTS = 5000, KEYS = 50 };

static unsigned kv_port;

/* Sends a request; the answer without its newline, in `line`. */
static void ask(FILE *stream, const char *request, char line[LINE])
{
	if (fputs(request, stream) < 0 || fflush(stream) || !fgets(line, LINE, stream))
		abort();
	line[strcspn(line, "\n")] = '\0';
}

static FILE *connected(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                              .sin_port = htons((unsigned short)kv_port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *stream = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) ? NULL : fdopen(fd, "r+");
	if (!stream)
		abort();
	return stream;
}

/* A key's value is one letter, a thousand times or fewer: whoever reads two has read freed memory. */
static void *client(void *argument)
{
	unsigned long seed = (unsigned long)(size_t)argument, got = 0;
	char request[LINE], line[LINE];
	FILE *stream = connected();

	for (int i = 0; i < REQUESTS; i++) {
		seed = seed * 6364136223846793005ul + 1;
		unsigned key = (unsigned)(seed >> 33) % KEYS, kind = (unsigned)(seed >> 60);
		if (kind < 4) {
			char value[1001];
			size_t length = 1 + (seed >> 20) % 1000;
			memset(value, 'a' + (char)(seed >> 50) % 26, length);
			value[length] = '\0';
			snprintf(request, sizeof request, "set key%u %s\n", key, value);
			ask(stream, request, line);
			if (strcmp(line, "OK"))
				abort();
		} else if (kind == 4) {
			snprintf(request, sizeof request, "del key%u\n", key);
			ask(stream, request, line);
		} else {
			snprintf(request, sizeof request, "get key%u\n", key);
			ask(stream, request, line);
			if (!*line || strspn(line, (char[]){*line, '\0'}) != strlen(line))
				abort();
			got += *line != '-';
		}
	}
	fclose(stream);
	return (void *)got;
}

int kv_self_test(unsigned port)
{
	pthread_t clients[CLIENTS];
	unsigned long gets = 0;
	char request[64], line[LINE];

	kv_port = port;
	for (size_t i = 0; i < CLIENTS; i++)
		if (pthread_create(&clients[i], NULL, client, (void *)(i + 1)))
			abort();
	for (int i = 0; i < CLIENTS; i++) {
		void *got;
		pthread_join(clients[i], &got);
		gets += (unsigned long)got;
	}
	FILE *stream = connected();
	ask(stream, "set a b c\n", line); /* a value may have spaces, a key may not */
	ask(stream, "get a\n", line);
	if (strcmp(line, "b c"))
		abort();
	ask(stream, "del a\n", line);
	for (int i = 0; i < KEYS; i++) {
		snprintf(request, sizeof request, "del key%u\n", i);
		ask(stream, request, line);
	}
	ask(stream, "get a\n", line);
	if (strcmp(line, "-"))
		abort();
	fclose(stream);

	qslab_rcu_barrier(); /* the server's threads wait for the network: offline */
	struct qslab_rcu_stats stats;
	qslab_rcu_stats(&stats);
	printf("%d requests of %d clients, %lu values read; %lu entries retired, in %lu grace periods\n",
	       CLIENTS * REQUESTS, CLIENTS, gets, (unsigned long)stats.retired, (unsigned long)stats.completed);
	return !(stats.waiting == 0 && stats.retired > 1000);
}

#endif
