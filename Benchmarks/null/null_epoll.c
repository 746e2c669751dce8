/* The null server on epoll: one thread, level-triggered, one recv and one send per readiness. */
#include "null.h"
#include <sys/epoll.h>

static int epoll;

static void watch(int socket, int operation, unsigned events) {
  struct epoll_event event = {.events = events, .data.fd = socket};
  if (epoll_ctl(epoll, operation, socket, &event) < 0) die("epoll_ctl");
}

static void accept_all(int listener) {
  for (;;) {
    int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) return;
    if (socket >= max_connections) {
      close(socket);
      continue;
    }
    reset(&connections[socket]);
    watch(socket, EPOLL_CTL_ADD, EPOLLIN);
  }
}

/* Sends what is owed; asks to be told when there is room again if not all went. */
static int send_owed(int socket) {
  struct connection *connection = &connections[socket];
  int was_waiting = connection->sending != 0;
  while (connection->owed_bytes) {
    const char *bytes;
    size_t count = next_burst(connection, &bytes);
    ssize_t sent = send(socket, bytes, count, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) return -1;
      if (!was_waiting) watch(socket, EPOLL_CTL_MOD, EPOLLOUT);
      connection->sending = 1;
      return 0;
    }
    connection->owed_bytes -= (size_t)sent;
    connection->phase = (connection->phase + (size_t)sent) % answer_bytes;
  }
  if (was_waiting) watch(socket, EPOLL_CTL_MOD, EPOLLIN);
  connection->sending = 0;
  return 0;
}

int main(int count, char **arguments) {
  static char buffer[large_receive_bytes];
  struct epoll_event events[512];
  int listener = listen_on(start(count, arguments), SOCK_NONBLOCK);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) die("epoll_create1");
  watch(listener, EPOLL_CTL_ADD, EPOLLIN);
  for (;;) {
    int ready = epoll_wait(epoll, events, 512, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      int socket = events[i].data.fd;
      if (socket == listener) {
        accept_all(listener);
        continue;
      }
      int failed = 0;
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t received = recv(socket, buffer, receive_bytes, 0);
        failed = received == 0 || (received < 0 && errno != EAGAIN);
        if (received > 0)
          connections[socket].owed_bytes +=
              answer_bytes * count_requests(&connections[socket], buffer, (size_t)received);
      }
      if (failed || send_owed(socket) < 0) close(socket);
    }
  }
}
