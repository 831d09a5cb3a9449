/* qslab serve: a process's figures for Prometheus, over HTTP on loopback, until the process ends. */
#define _GNU_SOURCE
#include "command.h"
#include "format.h"
#include "stat.h"
#include "totals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PORT 9754
#define REQUEST_MOST 8192
#define CLIENT_MS 3000 /* for a client to send its request, and again to take the answer */
#define BACKLOG 16

static int64_t milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Ready for `events` before `end`? */
static bool ready(int client, short events, int64_t end)
{
	int64_t left = end - milliseconds();
	struct pollfd wanted = {client, events, 0};
	return left > 0 && poll(&wanted, 1, (int)left) == 1;
}

/* The request's head, as a string; false if none came in time, or it is too long. */
static bool receive(int client, char request[REQUEST_MOST + 1])
{
	int64_t end = milliseconds() + CLIENT_MS;
	size_t used = 0;

	while (used < REQUEST_MOST && ready(client, POLLIN, end)) {
		ssize_t got = recv(client, request + used, REQUEST_MOST - used, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return false;
		used += (size_t)got;
		request[used] = '\0';
		if (strlen(request) != used)
			return true; /* a zero byte: let it be judged as it is */
		if (strstr(request, "\r\n\r\n") || strstr(request, "\n\n"))
			return true;
	}
	request[used] = '\0';
	return used == REQUEST_MOST;
}

static void deliver(int client, const char *text, size_t size, int64_t end)
{
	while (size && ready(client, POLLOUT, end)) {
		ssize_t sent = send(client, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return;
		if (sent > 0) {
			text += sent;
			size -= (size_t)sent;
		}
	}
}

static void answer(int client, const char *status, const char *more, const char *body, size_t size, bool with_body)
{
	int64_t end = milliseconds() + CLIENT_MS;
	char head[320];
	int length = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
	                      "Content-Length: %zu\r\n%sConnection: close\r\n\r\n", status, size, more);

	deliver(client, head, (size_t)length, end);
	if (with_body)
		deliver(client, body, size, end);
	/* what the client still sends must not make the kernel drop the answer */
	shutdown(client, SHUT_WR);
	char rest[1024];
	end = milliseconds() + CLIENT_MS / 10;
	while (ready(client, POLLIN, end) && recv(client, rest, sizeof rest, MSG_DONTWAIT) > 0)
		continue;
}

static void answer_text(int client, const char *status, const char *more, bool with_body)
{
	char body[80];
	int size = snprintf(body, sizeof body, "%s\n", status);
	answer(client, status, more, body, (size_t)size, with_body);
}

/* False: the process cannot be read any more. */
static bool answer_metrics(int client, struct reader *reader, bool with_body, struct failure *why)
{
	struct snapshot *snapshot = reader_snapshot(reader, SNAPSHOT_MEMORY, why);
	char *text = NULL;
	size_t size = 0;

	if (!snapshot) {
		answer_text(client, "503 Service Unavailable", "", with_body);
		return false;
	}
	FILE *memory = need(open_memstream(&text, &size));
	stat_prometheus(snapshot, memory);
	if (fclose(memory))
		need(NULL);
	snapshot_free(snapshot);
	answer(client, "200 OK", "", text, size, with_body);
	free(text);
	return true;
}

/* "GET /metrics HTTP/1.1": method and path; false if it is none of HTTP's. */
static bool split(char *request, char **method, char **path)
{
	char *line = request, *rest;

	line[strcspn(line, "\r\n")] = '\0';
	*method = strtok_r(line, " ", &rest);
	*path = strtok_r(NULL, " ", &rest);
	char *version = strtok_r(NULL, " ", &rest);
	if (!*method || !*path || !version || strtok_r(NULL, " ", &rest) || strncmp(version, "HTTP/1.", 7))
		return false;
	(*path)[strcspn(*path, "?#")] = '\0';
	return **path == '/';
}

static bool attend(int client, struct reader *reader, struct failure *why)
{
	char request[REQUEST_MOST + 1] = "", *method, *path;

	if (!receive(client, request))
		return true; /* gone, or too slow */
	if (strlen(request) >= REQUEST_MOST || !split(request, &method, &path)) {
		answer_text(client, "400 Bad Request", "", true);
		return true;
	}
	bool get = !strcmp(method, "GET");
	if (!get && strcmp(method, "HEAD"))
		answer_text(client, "405 Method Not Allowed", "Allow: GET, HEAD\r\n", true);
	else if (strcmp(path, "/metrics"))
		answer_text(client, "404 Not Found", "", get);
	else
		return answer_metrics(client, reader, get, why);
	return true;
}

/* A socket on loopback, and its port; -1 with errno. */
static int listen_on(long *port)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;

	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
	    bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		return -1;
	*port = ntohs(address.sin_port);
	return listener;
}

/* Until the process ends: `process` becomes readable then. */
static int serve(int listener, int process, struct reader *reader)
{
	struct failure why;

	for (;;) {
		struct pollfd wanted[] = {{listener, POLLIN, 0}, {process, POLLIN, 0}};
		if (poll(wanted, 2, -1) < 0 && errno != EINTR)
			return failed("serve: poll");
		if (wanted[1].revents) {
			printf("%s: ended\n", reader_name(reader));
			return finish_output();
		}
		int client = wanted[0].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (client < 0)
			continue;
		bool well = attend(client, reader, &why);
		close(client);
		struct pollfd ended = {process, POLLIN, 0};
		if (!well && poll(&ended, 1, 1000) != 1)
			return failed(why.text);
	}
}

int command_serve(int count, char **arguments)
{
	long port = PORT;
	const struct option options[] = {{"--port", OPTION_NUMBER, &port, 0, 65535}};
	struct words words;
	struct failure why;
	int pid;

	if (!parse_arguments("serve", count, arguments, options, 1, &words, 1, 1, "no process given"))
		return 2;
	if (!parse_pid("serve", words.list[0], &pid))
		return 2;
	struct reader *reader = reader_open_process(pid, &why);
	if (!reader)
		return failed(why.text);
	int process = (int)syscall(SYS_pidfd_open, pid, 0), listener = process < 0 ? -1 : listen_on(&port), status;
	if (listener < 0) {
		fail(&why, "%s %ld: %s", process < 0 ? "process" : "port", process < 0 ? (long)pid : port, strerror(errno));
		status = failed(why.text);
	} else {
		printf("%s: http://127.0.0.1:%ld/metrics\n", reader_name(reader), port);
		status = finish_output();
		status = status ? status : serve(listener, process, reader);
		close(listener);
	}
	if (process >= 0)
		close(process);
	reader_close(reader);
	return status;
}
