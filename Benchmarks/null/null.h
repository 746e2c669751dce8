/* What both null servers share: the least that an HTTP server can do and still be correct for a load generator.
 *
 * A null server answers every request with the same bytes. It doesn't parse: it counts the empty lines that end heads,
 * so that pipelined requests get as many answers; told how large the bodies of requests are, it skips so many bytes.
 * What it costs per request is what the kernel and the memory copies cost, and so the mark that kvd's figures are
 * divided by. */
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  max_connections = 65536,
  max_burst = 4096,             /* answers in one send */
  max_burst_bytes = 4 << 20,    /* and their bytes, but for an answer that is larger by itself */
  default_receive_bytes = 16 << 10,
  large_receive_bytes = 256 << 10 /* where requests have large bodies */
};

/* Per connection: answers that are owed or being sent, and the last bytes received, for an end that is cut in two. */
struct connection {
  size_t owed_bytes;   /* bytes of answers that no send has been started for */
  size_t sending;      /* bytes of the send that is under way */
  size_t phase;        /* where in an answer the next byte to send lies */
  size_t body;         /* bytes of a request's body that are still to come */
  char *kept;          /* the last body, if bodies are kept */
  unsigned carry;      /* the last three bytes received */
  unsigned generation; /* of this descriptor, so that a late completion is recognised */
};

static struct connection connections[max_connections];
static char *answers;        /* burst + 1 copies of the answer */
static size_t answer_bytes;
static size_t burst;         /* answers in one send */
static size_t receive_bytes; /* of a receive buffer */
static int keeps;            /* bodies are copied to memory of the connection's own, not only counted */
static size_t body_bytes;    /* of each request; 0 if it may have one that holds no empty line, of any size */

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

/* The bytes that kvd answers to a read of a value of `value_bytes` bytes; without a value, those to a write. */
static inline void make_answers(int value_bytes) {
  char head[256];
  int head_bytes = snprintf(head, sizeof head,
                            "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%sETag: \"517-1-100000\"\r\n"
                            "Date: Sat, 21 Nov 2026 14:50:04 GMT\r\n\r\n",
                            value_bytes, value_bytes ? "Content-Type: application/octet-stream\r\n" : "");
  answer_bytes = (size_t)(head_bytes + value_bytes);
  burst = max_burst_bytes / answer_bytes;
  burst = burst < 1 ? 1 : burst > max_burst ? max_burst : burst;
  answers = malloc(answer_bytes * (burst + 1));
  if (!answers) die("malloc");
  for (size_t i = 0; i <= burst; i++) {
    memcpy(answers + i * answer_bytes, head, (size_t)head_bytes);
    memset(answers + i * answer_bytes + head_bytes, 'x', (size_t)value_bytes);
  }
}

/* Heads that end within these bytes. Looks at every fourth byte: an end is four bytes long and so can't be jumped. */
static inline size_t count_ends(struct connection *connection, const char *bytes, size_t count) {
  size_t ends = 0;
  unsigned window = connection->carry;
  for (size_t i = 0; i < count && i < 3; i++) { /* the ends that began in what came before */
    window = window << 8 | (unsigned char)bytes[i];
    if (window == 0x0d0a0d0a) ends++;
  }
  size_t i = 3;
  while (i < count) {
    char last = bytes[i];
    if (last == '\n' && bytes[i - 1] == '\r' && bytes[i - 2] == '\n' && bytes[i - 3] == '\r') {
      ends++;
      i += 4;
    } else {
      i += last == '\n' || last == '\r' ? 1 : 4; /* part of an end perhaps: look closely */
    }
  }
  if (count >= 3) {
    connection->carry = (unsigned char)bytes[count - 3] << 16 | (unsigned char)bytes[count - 2] << 8 |
                        (unsigned char)bytes[count - 1];
  } else {
    connection->carry = window & 0xffffff;
  }
  return ends;
}

static inline void keep(struct connection *connection, const char *bytes, size_t count) {
  if (!connection->kept && !(connection->kept = malloc(body_bytes))) die("malloc");
  memcpy(connection->kept + (body_bytes - connection->body), bytes, count);
}

/* Requests that end within these bytes, each with a body of `body_bytes` bytes, which are counted and not looked at. */
static inline size_t count_bodies(struct connection *connection, const char *bytes, size_t count) {
  size_t ends = 0;
  for (size_t i = 0; i < count;) {
    if (connection->body) {
      size_t taken = count - i < connection->body ? count - i : connection->body;
      if (keeps) keep(connection, bytes + i, taken);
      connection->body -= taken;
      i += taken;
      if (!connection->body) ends++;
    } else {
      connection->carry = connection->carry << 8 | (unsigned char)bytes[i++];
      if (connection->carry == 0x0d0a0d0a) connection->body = body_bytes;
    }
  }
  return ends;
}

static inline size_t count_requests(struct connection *connection, const char *bytes, size_t count) {
  return body_bytes ? count_bodies(connection, bytes, count) : count_ends(connection, bytes, count);
}

/* The bytes to send next, at most a burst; they begin where the last send stopped within an answer. */
static inline size_t next_burst(const struct connection *connection, const char **start) {
  size_t most = answer_bytes * burst;
  *start = answers + connection->phase;
  return connection->owed_bytes < most ? connection->owed_bytes : most;
}

/* A listening socket with kvd's options. */
static inline int listen_on(int port, int extra_type) {
  int listener = socket(AF_INET, SOCK_STREAM | extra_type, 0);
  if (listener < 0) die("socket");
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  if (listen(listener, 4096) < 0) die("listen");
  return listener;
}

/* Starts over with a descriptor that has a new connection. */
static inline void reset(struct connection *connection) {
  free(connection->kept);
  *connection = (struct connection){.generation = connection->generation};
}

/* Arguments: PORT [VALUE_BYTES [BODY_BYTES [keep]]]. */
static inline int start(int count, char **arguments) {
  if (count < 2) {
    fprintf(stderr, "usage: %s PORT [VALUE_BYTES [BODY_BYTES [keep]]]\n", arguments[0]);
    exit(2);
  }
  signal(SIGPIPE, SIG_IGN);
  make_answers(count > 2 ? atoi(arguments[2]) : 100);
  body_bytes = count > 3 ? strtoul(arguments[3], NULL, 10) : 0;
  keeps = count > 4 && strcmp(arguments[4], "keep") == 0;
  receive_bytes = body_bytes > default_receive_bytes ? large_receive_bytes : default_receive_bytes;
  return atoi(arguments[1]);
}
