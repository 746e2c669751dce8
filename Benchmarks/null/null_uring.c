/* The null server on io_uring: multishot accept and receive, provided buffers, one enter per turn of the loop. */
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
    connections[socket].owed_bytes +=
        answer_bytes * count_requests(&connections[socket], bytes, (size_t)completion->res);
    io_uring_buf_ring_add(buffer_ring, bytes, (unsigned)receive_bytes, buffer, io_uring_buf_ring_mask(buffer_count), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
    start_send(socket);
  } else if (completion->res != -ENOBUFS) {
    end(socket);
    return;
  }
  if (!(completion->flags & IORING_CQE_F_MORE)) start_receive(socket);
}

static void sent(int socket, int result) {
  struct connection *connection = &connections[socket];
  if (result < 0) {
    end(socket);
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
  set_up();
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
  }
}
