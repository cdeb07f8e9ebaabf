// Slots and bits, as package ipc has them, in C: two processes that spin, a
// 64-byte request and a 64-byte reply, both written and read whole. Same
// layout, same publications, same looks at the other side's sleep word.
#include "common.h"

#define SLOTS 64
#define LINE_PAIR 128

struct record {
  _Atomic uint64_t seq;
  uint64_t words[7];
};

// One side's segment. Words of different events are a line pair apart.
struct segment {
  _Alignas(LINE_PAIR) uint64_t magic;
  _Alignas(LINE_PAIR) _Atomic uint64_t sleep;
  _Alignas(LINE_PAIR) _Atomic uint64_t bell;
  _Alignas(LINE_PAIR) _Atomic uint64_t bits[8];
  _Alignas(LINE_PAIR) struct record records[SLOTS];
};

struct session {
  struct segment *client, *server;
  uint64_t seq;
};

static inline void toggle(_Atomic uint64_t *bits, int slot, uint64_t seq) {
  uint64_t bit = 1ull << (slot & 63);
  atomic_fetch_add(&bits[slot >> 6], seq & 1 ? bit : -bit); // LOCK XADD, a full fence
}

static void call(void *arg) {
  struct session *s = arg;
  const int slot = 0;
  struct record *request = &s->client->records[slot], *reply = &s->server->records[slot];
  uint64_t seq = ++s->seq, sum = 0;
  for (int i = 0; i < 7; i++) request->words[i] = seq + (uint64_t)i;
  atomic_store_explicit(&request->seq, seq, memory_order_release);
  toggle(s->client->bits, slot, seq);
  if (atomic_load_explicit(&s->server->sleep, memory_order_relaxed) & 1) abort(); // nobody sleeps here
  while (atomic_load_explicit(&reply->seq, memory_order_acquire) != seq) pause_cpu();
  for (int i = 0; i < 7; i++) sum += reply->words[i];
  if (sum != 7 * seq + 28) abort();
}

static void serve(struct session *s) {
  uint64_t taken = 0; // parities of the requests taken
  int hot = 0;
  for (;;) {
    struct record *request = &s->client->records[hot], *reply = &s->server->records[hot];
    uint64_t seq = atomic_load_explicit(&request->seq, memory_order_acquire);
    if (seq == atomic_load_explicit(&reply->seq, memory_order_relaxed)) {
      uint64_t changed = atomic_load_explicit(&s->client->bits[0], memory_order_acquire) ^ taken;
      if (changed) hot = __builtin_ctzll(changed);
      pause_cpu();
      continue;
    }
    taken ^= 1ull << hot;
    uint64_t words[7];
    memcpy(words, request->words, sizeof words);
    for (int i = 0; i < 7; i++) words[i]++;
    memcpy(reply->words, words, sizeof words);
    atomic_store_explicit(&reply->seq, seq, memory_order_release);
    toggle(s->server->bits, hot, seq);
    if (atomic_load_explicit(&s->client->sleep, memory_order_relaxed)) abort(); // nobody sleeps here
  }
}

int main(int argc, char **argv) {
  struct arguments a = parse(argc, argv);
  int fd;
  struct session s = {shared_memory(sizeof(struct segment), &fd), shared_memory(sizeof(struct segment), &fd), 0};
  pid_t server = fork();
  if (server < 0) die("fork");
  if (!server) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(a.server);
    serve(&s);
  }
  pin(a.client);
  run(a.seconds, call, &s);
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
}
