// What the C programs share: pinning, a tick counter, and the percentiles of
// the round trips they time. Each prints one JSON object on its last line.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX (1 << 22)

static inline void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

static inline uint64_t ticks(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  uint64_t t;
  __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t));
  return t;
#endif
}

static inline uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

// pin binds the caller to one processor; a negative one leaves it free.
static void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
}

static inline void *shared_memory(size_t bytes, int *fd) {
  *fd = memfd_create("peer", MFD_CLOEXEC);
  if (*fd < 0 || ftruncate(*fd, (off_t)bytes)) die("memfd_create");
  void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, *fd, 0);
  if (mem == MAP_FAILED) die("mmap");
  return mem;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

// run calls round_trip until the time is over, and prints what it took.
static void run(double seconds, void (*round_trip)(void *), void *arg) {
  uint32_t *sample = malloc(SAMPLES_MAX * sizeof *sample);
  if (!sample) die("malloc");
  memset(sample, 0, SAMPLES_MAX * sizeof *sample); // touched now, not while timing
  for (int i = 0; i < 1000; i++) round_trip(arg);
  uint64_t total = 0, ns0 = now_ns(), t0 = ticks(), last = t0;
  uint64_t until = ns0 + (uint64_t)(seconds * 1e9);
  for (;;) {
    round_trip(arg);
    uint64_t t = ticks();
    sample[total++ % SAMPLES_MAX] = (uint32_t)(t - last);
    last = t;
    if (total % 64 == 0 && now_ns() >= until) break;
  }
  uint64_t elapsed = now_ns() - ns0;
  double ns_per_tick = (double)elapsed / (double)(last - t0);
  size_t n = total < SAMPLES_MAX ? total : SAMPLES_MAX;
  qsort(sample, n, sizeof *sample, by_value);
  printf("{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"per_second\":%.1f}\n", sample[n / 2] * ns_per_tick,
         sample[n * 99 / 100] * ns_per_tick, sample[n * 999 / 1000] * ns_per_tick, (double)total * 1e9 / (double)elapsed);
}

struct arguments {
  double seconds;
  int client, server; // processors, negative for any
};

static struct arguments parse(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s SECONDS CLIENT_CPU SERVER_CPU\n", argv[0]);
    exit(2);
  }
  return (struct arguments){atof(argv[1]), atoi(argv[2]), atoi(argv[3])};
}
