#define _GNU_SOURCE
#include "shim.h"
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

int kvd_accept(int listener, int nonblocking) {
  int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0));
  return descriptor < 0 ? -errno : descriptor;
}

int kvd_epoll_wait_ns(int epoll, struct epoll_event *events, int capacity, uint64_t nanoseconds) {
#ifdef SYS_epoll_pwait2
  /* The raw call: glibc has the wrapper since 2.35 only. The kernel's timespec has 64-bit fields on every machine. */
  struct __kernel_timespec timeout = {
    .tv_sec = (long long)(nanoseconds / 1000000000), .tv_nsec = (long long)(nanoseconds % 1000000000)};
  long count = syscall(SYS_epoll_pwait2, epoll, events, capacity, &timeout, NULL, 0);
  return count < 0 ? -errno : (int)count;
#else
  return -ENOSYS;
#endif
}

int kvd_allowed_cpus(int *cpus, int capacity) {
  /* 8192 processors: NR_CPUS of the distributions' kernels. */
  size_t size = CPU_ALLOC_SIZE(8192);
  cpu_set_t *set = CPU_ALLOC(8192);
  if (!set) return -ENOMEM;
  int count = 0;
  if (sched_getaffinity(0, size, set) != 0) {
    count = -errno;
  } else {
    for (int cpu = 0; cpu < 8192 && count < capacity; cpu++)
      if (CPU_ISSET_S(cpu, size, set)) cpus[count++] = cpu;
  }
  CPU_FREE(set);
  return count;
}

int kvd_pin_to_cpu(int cpu) {
  if (cpu < 0 || cpu >= 8192) return -EINVAL;
  size_t size = CPU_ALLOC_SIZE(8192);
  cpu_set_t *set = CPU_ALLOC(8192);
  if (!set) return -ENOMEM;
  CPU_ZERO_S(size, set);
  CPU_SET_S(cpu, size, set);
  int result = sched_setaffinity(0, size, set) == 0 ? 0 : -errno;
  CPU_FREE(set);
  return result;
}

void kvd_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int kvd_signal_descriptor(const int *signals, int count) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
  int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (error != 0) return -error;
  int descriptor = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int kvd_next_signal(int descriptor) {
  struct signalfd_siginfo info;
  return read(descriptor, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

void kvd_ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }

static int unmap_object(struct dl_phdr_info *object, size_t size, void *context) {
  (void)size;
  (void)context;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    /* What can be written may have been, and would be lost. The loader writes to parts that it protects then. */
    if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
    uintptr_t start = (object->dlpi_addr + part->p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (object->dlpi_addr + part->p_vaddr + part->p_filesz) & ~(page - 1);
    /* A part that can't be unmapped, as the kernel's own, stays. */
    if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 0;
}

void kvd_unmap_program(void) { dl_iterate_phdr(unmap_object, NULL); }
