// Synchronous calls over a Unix stream socket: write 64 bytes, read 64 bytes,
// each a blocking system call.
#include "common.h"
#include <sys/socket.h>

static void transfer(int fd, uint64_t *message, int out) {
  ssize_t n = out ? write(fd, message, 64) : read(fd, message, 64);
  if (n == 0) exit(0); // the other side is gone
  if (n != 64) die("socket");
}

static void call(void *arg) {
  int fd = *(int *)arg;
  static uint64_t seq;
  uint64_t message[8], sum = 0;
  seq++;
  for (int i = 0; i < 8; i++) message[i] = seq + (uint64_t)i;
  transfer(fd, message, 1);
  transfer(fd, message, 0);
  for (int i = 0; i < 8; i++) sum += message[i];
  if (sum != 8 * seq + 36) abort();
}

static void serve(int fd) {
  for (uint64_t message[8];;) {
    transfer(fd, message, 0);
    for (int i = 0; i < 8; i++) message[i]++;
    transfer(fd, message, 1);
  }
}

int main(int argc, char **argv) {
  struct arguments a = parse(argc, argv);
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) die("socketpair");
  pid_t server = fork();
  if (server < 0) die("fork");
  if (!server) {
    close(pair[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(a.server);
    serve(pair[1]);
  }
  close(pair[1]);
  pin(a.client);
  run(a.seconds, call, &pair[0]);
  close(pair[0]);
  waitpid(server, NULL, 0);
}
