/* The null server on io_uring: multishot accept and receive, provided buffers, one enter per turn of the loop.
 *
 * With `lead P Q` behind its arguments it hands all that it receives to the two servers at these ports as well, started
 * with `follow`, and answers a request once one of the two has said that it has it: what a majority of three costs at
 * least. A turn sends each follower one batch, and a follower's turn sends one acknowledgement. */
#include "null.h"
#include <liburing.h>
#include <sys/mman.h>

enum { entries = 4096, large_buffer_count = 64, default_buffer_count = 2048, buffer_group = 0 };
enum operation { accept_operation, receive_operation, send_operation };

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static char *buffers;
static unsigned buffer_count;

static struct io_uring_sqe *next_entry(void) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
  if (entry) return entry;
  io_uring_submit(&ring);
  entry = io_uring_get_sqe(&ring);
  if (!entry) die("io_uring_get_sqe");
  return entry;
}

/* user_data: the operation, the descriptor, and the descriptor's generation. */
static void tag(struct io_uring_sqe *entry, enum operation operation, int socket) {
  entry->user_data = (unsigned long long)connections[socket].generation << 32 | (unsigned)socket << 2 | operation;
}

static void start_accept(int listener) {
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_multishot_accept(entry, listener, NULL, NULL, SOCK_CLOEXEC);
  tag(entry, accept_operation, listener);
}

static void start_receive(int socket) {
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_recv_multishot(entry, socket, NULL, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = buffer_group;
  tag(entry, receive_operation, socket);
}

static void start_send(int socket) {
  struct connection *connection = &connections[socket];
  if (connection->sending || !connection->owed_bytes) return;
  const char *bytes;
  connection->sending = next_burst(connection, &bytes);
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_send(entry, socket, bytes, connection->sending, MSG_NOSIGNAL);
  tag(entry, send_operation, socket);
}

/* MARK: Replication */

enum { follower_count = 2, queue_entries = 65536, log_room = 1 << 20 };

/* What the leader sends a follower: one buffer is being filled while the other is on its way. */
struct follower {
  int socket;
  char *filling, *sending;
  size_t filled, under_way;
};

/* Requests that came together, and where the log ended then. */
struct waiting {
  int socket;
  unsigned generation;
  size_t requests;
  unsigned long long offset;
};

static struct follower followers[follower_count];
static int leads, follows;
static unsigned long long log_end; /* bytes that the leader appended, or the follower received */
static struct waiting queue[queue_entries];
static unsigned queue_head, queue_tail;
static int leader; /* a follower's connection to it, when there is something to acknowledge; else 0 */

static struct follower *follower_at(int socket) {
  for (int i = 0; leads && i < follower_count; i++)
    if (followers[i].socket == socket) return &followers[i];
  return NULL;
}

static void start_follower_send(struct follower *follower) {
  if (follower->under_way || !follower->filled) return;
  char *full = follower->filling;
  follower->filling = follower->sending;
  follower->sending = full;
  follower->under_way = follower->filled;
  follower->filled = 0;
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_send(entry, follower->socket, full, follower->under_way, MSG_NOSIGNAL | MSG_WAITALL);
  tag(entry, send_operation, follower->socket);
}

/* Requests, and their bytes, are in the log; they are answered later. */
static void append(int socket, size_t requests, const char *bytes, size_t count) {
  for (int i = 0; i < follower_count; i++) {
    struct follower *follower = &followers[i];
    if (follower->filled + count > log_room || queue_tail - queue_head == queue_entries) {
      fprintf(stderr, "too much is under way\n");
      exit(1);
    }
    memcpy(follower->filling + follower->filled, bytes, count);
    follower->filled += count;
  }
  log_end += count;
  if (requests)
    queue[queue_tail++ % queue_entries] =
        (struct waiting){socket, connections[socket].generation, requests, log_end};
}

/* A follower has the log up to here: with the leader that is a majority. */
static void acknowledged(const char *bytes, size_t count) {
  unsigned long long offset;
  if (count % sizeof offset) return; /* cut in two: the next one says more */
  memcpy(&offset, bytes + count - sizeof offset, sizeof offset);
  while (queue_head != queue_tail && queue[queue_head % queue_entries].offset <= offset) {
    struct waiting *first = &queue[queue_head++ % queue_entries];
    if (first->generation != connections[first->socket].generation) continue;
    connections[first->socket].owed_bytes += answer_bytes * first->requests;
    start_send(first->socket);
  }
}

/* What is to be said at the end of a turn. */
static void replicate(void) {
  static unsigned long long said;
  for (int i = 0; leads && i < follower_count; i++) start_follower_send(&followers[i]);
  if (!leader) return;
  said = log_end;
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_send(entry, leader, &said, sizeof said, MSG_NOSIGNAL);
  entry->user_data = ~0ull; /* nobody asks what becomes of it */
  leader = 0;
}

static void connect_followers(char **ports) {
  for (int i = 0; i < follower_count; i++) {
    int on = 1, peer = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(ports[i])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (peer < 0 || connect(peer, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    followers[i] = (struct follower){.socket = peer, .filling = malloc(log_room), .sending = malloc(log_room)};
    if (!followers[i].filling || !followers[i].sending) die("malloc");
    start_receive(peer);
  }
}

/* MARK: Connections */

static void end(int socket) {
  connections[socket].generation++;
  shutdown(socket, SHUT_RDWR); /* ends the receive that may still be armed */
  close(socket);
}

static void set_up(void) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
      .cq_entries = 4 * entries};
  if (io_uring_queue_init_params(entries, &ring, &parameters) < 0) {
    parameters = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = 4 * entries};
    int error = io_uring_queue_init_params(entries, &ring, &parameters);
    if (error < 0) {
      errno = -error;
      die("io_uring_queue_init_params");
    }
  }
  buffer_count = receive_bytes == large_receive_bytes ? large_buffer_count : default_buffer_count;
  buffers = malloc((size_t)buffer_count * receive_bytes);
  buffer_ring = mmap(NULL, buffer_count * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                     MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (!buffers || buffer_ring == MAP_FAILED) die("mmap");
  struct io_uring_buf_reg registration = {
      .ring_addr = (unsigned long)buffer_ring, .ring_entries = buffer_count, .bgid = buffer_group};
  if (io_uring_register_buf_ring(&ring, &registration, 0) < 0) die("io_uring_register_buf_ring");
  io_uring_buf_ring_init(buffer_ring);
  for (unsigned i = 0; i < buffer_count; i++)
    io_uring_buf_ring_add(buffer_ring, buffers + (size_t)i * receive_bytes, (unsigned)receive_bytes, (unsigned short)i,
                          io_uring_buf_ring_mask(buffer_count), (int)i);
  io_uring_buf_ring_advance(buffer_ring, (int)buffer_count);
}

static void received(int socket, const struct io_uring_cqe *completion) {
  if (completion->res > 0) {
    unsigned short buffer = (unsigned short)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    char *bytes = buffers + (size_t)buffer * receive_bytes;
    size_t bytes_received = (size_t)completion->res;
    size_t requests = follows || follower_at(socket) ? 0 : count_requests(&connections[socket], bytes, bytes_received);
    if (follows) {
      log_end += bytes_received;
      leader = socket;
    } else if (follower_at(socket)) {
      acknowledged(bytes, bytes_received);
    } else if (leads) {
      append(socket, requests, bytes, bytes_received);
    } else {
      connections[socket].owed_bytes += answer_bytes * requests;
    }
    io_uring_buf_ring_add(buffer_ring, bytes, (unsigned)receive_bytes, buffer, io_uring_buf_ring_mask(buffer_count), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
    if (!leads && !follows) start_send(socket);
  } else if (completion->res != -ENOBUFS) {
    end(socket);
    return;
  }
  if (!(completion->flags & IORING_CQE_F_MORE)) start_receive(socket);
}

static void sent(int socket, int result) {
  struct connection *connection = &connections[socket];
  struct follower *follower = follower_at(socket);
  if (result < 0) {
    end(socket);
    return;
  }
  if (follower) {
    follower->under_way = 0;
    return;
  }
  connection->owed_bytes -= (size_t)result;
  connection->phase = (connection->phase + (size_t)result) % answer_bytes;
  connection->sending = 0;
  start_send(socket);
}

static void accepted(int listener, const struct io_uring_cqe *completion) {
  int socket = completion->res;
  if (socket >= max_connections) {
    close(socket);
  } else if (socket >= 0) {
    reset(&connections[socket]);
    start_receive(socket);
  }
  if (!(completion->flags & IORING_CQE_F_MORE)) start_accept(listener);
}

/* A receive that ended with its connection may still hand back a buffer. */
static void stale(const struct io_uring_cqe *completion) {
  if (!(completion->flags & IORING_CQE_F_BUFFER)) return;
  unsigned short buffer = (unsigned short)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
  io_uring_buf_ring_add(buffer_ring, buffers + (size_t)buffer * receive_bytes, (unsigned)receive_bytes, buffer,
                        io_uring_buf_ring_mask(buffer_count), 0);
  io_uring_buf_ring_advance(buffer_ring, 1);
}

int main(int count, char **arguments) {
  int listener = listen_on(start(count, arguments), 0);
  const char *role = count > 4 ? arguments[4] : "";
  leads = strcmp(role, "lead") == 0 && count == 5 + follower_count;
  follows = strcmp(role, "follow") == 0;
  set_up();
  if (leads) connect_followers(arguments + 5);
  start_accept(listener);
  for (;;) {
    int result = io_uring_submit_and_wait(&ring, 1);
    if (result < 0 && result != -EINTR) {
      errno = -result;
      die("io_uring_submit_and_wait");
    }
    unsigned cursor, seen = 0;
    struct io_uring_cqe *completion;
    io_uring_for_each_cqe(&ring, cursor, completion) {
      seen++;
      if (completion->user_data == ~0ull) continue;
      int socket = (int)(completion->user_data >> 2 & 0x3fffffff);
      if (completion->user_data >> 32 != connections[socket].generation) {
        stale(completion);
        continue;
      }
      switch ((enum operation)(completion->user_data & 3)) {
        case accept_operation: accepted(listener, completion); break;
        case receive_operation: received(socket, completion); break;
        case send_operation: sent(socket, completion->res); break;
      }
    }
    io_uring_cq_advance(&ring, seen);
    replicate();
  }
}
