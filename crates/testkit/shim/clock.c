/* Preloaded into a server: its wall clock is what a small file says. The file holds 64-bit numbers:
 * a mode (0: microseconds to add to the real time, 1: the time itself in microseconds), a value, and
 * by how much each look moves the time of mode 1 on. In mode 0 the clock drifts besides: the fourth
 * number says by which of the two drifts that follow. A drift is the real time at which it began,
 * what the clock had gained by then, and what it gains in a second, all in microseconds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *cell;

__attribute__((constructor)) static void map_cell(void) {
  const char *path = getenv("ARBITER_TEST_CLOCK");
  int file = path ? open(path, O_RDWR) : -1;
  if (file < 0) return;
  void *memory = mmap(NULL, 10 * sizeof *cell, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory != MAP_FAILED) cell = memory;
  close(file);
}

static int64_t wall_micros(void) {
  struct timespec real;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
  int64_t micros = (int64_t)real.tv_sec * 1000000 + real.tv_nsec / 1000;
  if (!cell) return micros;
  if (cell[0]) return __atomic_fetch_add(&cell[1], cell[2], __ATOMIC_RELAXED);
  volatile int64_t *drift = &cell[__atomic_load_n(&cell[3], __ATOMIC_ACQUIRE) ? 7 : 4];
  return micros + cell[1] + drift[1] + (micros - drift[0]) * drift[2] / 1000000;
}

int gettimeofday(struct timeval *tv, void *zone) {
  (void)zone;
  int64_t micros = wall_micros();
  tv->tv_sec = micros / 1000000;
  tv->tv_usec = micros % 1000000;
  return 0;
}

int clock_gettime(clockid_t clock, struct timespec *ts) {
  int is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  /* Valkey carries its wall clock on by the monotonic one: to stand still, both have to. */
  int is_frozen = cell && cell[0] && clock == CLOCK_MONOTONIC;
  if (!is_wall && !is_frozen) return syscall(SYS_clock_gettime, clock, ts);
  int64_t micros = wall_micros();
  ts->tv_sec = micros / 1000000;
  ts->tv_nsec = micros % 1000000 * 1000;
  return 0;
}

time_t time(time_t *out) {
  time_t seconds = wall_micros() / 1000000;
  if (out) *out = seconds;
  return seconds;
}
