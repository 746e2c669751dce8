/* What Swift can't import of liburing and of Linux: macros with casts, variadic or _GNU_SOURCE calls, and C11 atomics.
 * No policy and no state: decisions live in the Swift module Reactor. */
#pragma once
#include <features.h> /* lock glibc's feature macros before liburing.h defines _XOPEN_SOURCE */
#include <liburing.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* ---- liburing ---- */

static inline uint8_t kvd_sqe_buffer_select(void) { return IOSQE_BUFFER_SELECT; }
static inline uint8_t kvd_sqe_skip_success(void) { return IOSQE_CQE_SKIP_SUCCESS; }

/* The io_uring_for_each_cqe macro, in three pieces. */
static inline uint32_t kvd_cq_head(const struct io_uring *_Nonnull ring) { return *ring->cq.khead; }
static inline uint32_t kvd_cq_ready(const struct io_uring *_Nonnull ring) {
  return io_uring_smp_load_acquire(ring->cq.ktail) - *ring->cq.khead;
}
static inline const struct io_uring_cqe *_Nonnull kvd_cq_at(const struct io_uring *_Nonnull ring, uint32_t head) {
  return &ring->cq.cqes[head & ring->cq.ring_mask];
}

/* ---- Atomics: the orders a mailbox and a doorbell need, and no others ---- */

static inline uint64_t kvd_load_acquire(const uint64_t *_Nonnull p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline uint64_t kvd_load_ordered(const uint64_t *_Nonnull p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void kvd_store_release(uint64_t *_Nonnull p, uint64_t value) {
  __atomic_store_n(p, value, __ATOMIC_RELEASE);
}
static inline void kvd_store_ordered(uint64_t *_Nonnull p, uint64_t value) {
  __atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}
static inline uint64_t kvd_exchange_ordered(uint64_t *_Nonnull p, uint64_t value) {
  return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);
}

/* ---- Linux (shim.c) ---- */

/* accept4 with SOCK_CLOEXEC, and SOCK_NONBLOCK if asked; the descriptor or -errno. */
int kvd_accept(int listener, int nonblocking);
/* epoll_pwait2 without a signal mask; the count of events or -errno (-ENOSYS before Linux 5.11). */
int kvd_epoll_wait_ns(int epoll, struct epoll_event *_Nonnull events, int capacity, uint64_t nanoseconds);
/* The processors this thread may run on: their numbers in cpus[0..<result], or -errno. */
int kvd_allowed_cpus(int *_Nonnull cpus, int capacity);
/* Binds the calling thread to one processor; 0 or -errno. */
int kvd_pin_to_cpu(int cpu);
/* Names the calling thread (15 bytes count). */
void kvd_name_thread(const char *_Nonnull name);
/* Blocks the signals in the calling thread (inherited by threads it starts) and makes a signalfd of them; or -errno. */
int kvd_signal_descriptor(const int *_Nonnull signals, int count);
/* The number of the next signal of a signalfd, 0 if there is none now. */
int kvd_next_signal(int descriptor);
void kvd_ignore_sigpipe(void);
/* Unmaps all pages of programs and constants from this process; the next access maps what is needed again, from the
 * page cache. */
void kvd_unmap_program(void);
