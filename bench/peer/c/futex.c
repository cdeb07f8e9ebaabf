// The least that two sleeping processes can do: one futex word in each
// direction, and 64 bytes written and read each way.
#include "common.h"
#include <linux/futex.h>
#include <sys/syscall.h>

struct side {
  _Alignas(128) _Atomic uint32_t word;
  _Alignas(128) uint64_t message[8];
};

struct pair {
  struct side request, reply;
};

static void wake(_Atomic uint32_t *word, uint32_t value) {
  atomic_store(word, value);
  syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_until(_Atomic uint32_t *word, uint32_t value) {
  for (uint32_t now; (now = atomic_load(word)) != value;) syscall(SYS_futex, word, FUTEX_WAIT, now, NULL, NULL, 0);
}

static void call(void *arg) {
  struct pair *p = arg;
  uint32_t seq = atomic_load_explicit(&p->request.word, memory_order_relaxed) + 1;
  uint64_t sum = 0;
  for (int i = 0; i < 8; i++) p->request.message[i] = seq + (uint64_t)i;
  wake(&p->request.word, seq);
  wait_until(&p->reply.word, seq);
  for (int i = 0; i < 8; i++) sum += p->reply.message[i];
  if (sum != 8ull * seq + 36) abort();
}

static void serve(struct pair *p) {
  for (uint32_t seq = 1;; seq++) {
    wait_until(&p->request.word, seq);
    for (int i = 0; i < 8; i++) p->reply.message[i] = p->request.message[i] + 1;
    wake(&p->reply.word, seq);
  }
}

int main(int argc, char **argv) {
  struct arguments a = parse(argc, argv);
  int fd;
  struct pair *p = shared_memory(sizeof *p, &fd);
  pid_t server = fork();
  if (server < 0) die("fork");
  if (!server) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(a.server);
    serve(p);
  }
  pin(a.client);
  run(a.seconds, call, p);
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
}
