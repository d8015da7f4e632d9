// What upstream and load generator agree on: the plan in a request's X-Bench header, and so which
// bytes a body has. Whoever receives a body compares every byte, which is stricter than a hash; of
// DELTAS every word, for a peer may spell the JSON around it anew.
#ifndef WIRE_H
#define WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum mode { STREAM, SIZED, SINK, DELTAS, UNPLANNED };

// How one request is to be answered: `chunks` lines, `pace` microseconds apart, or `size` bytes. A
// SINK reads a body of `size` bytes and tells how many it got. DELTAS are `chunks` server-sent
// events as OpenAI writes them, then one that says "stop", and [DONE]. `seed` makes bodies differ.
struct plan {
    enum mode mode;
    uint32_t seed, chunks, pace;
    uint64_t size;
};

#define PLAN_MOST 96
#define LINE 144 // bytes of a line: about what Ollama writes for each token
#define WORD 16  // characters of a token, another one for each seed and number
#define DELTA_MOST 512
#define BLOCK (1 << 18)

int plan_write(const struct plan *plan, char *out); // without a line end; its length
int plan_read(const char *head, struct plan *plan); // 1 if the head has a plan

const char *content(uint32_t seed, uint64_t at); // of SIZED and SINK; BLOCK bytes from `at` on
void word(uint32_t seed, uint32_t number, char out[WORD]);
void line(uint32_t seed, uint32_t number, char out[LINE]);
int delta(uint32_t seed, uint32_t number, char out[DELTA_MOST]); // an event with a word; its length

// A message's body in whichever framing. `part` is given what it decodes to.
struct body {
    int chunked, done, phase;
    uint64_t left;
};
typedef void part(void *context, const char *data, size_t len);
void body_begin(struct body *body, const char *head);
size_t body_take(struct body *body, const char *data, size_t len, part *part, void *context);

const char *header(const char *head, const char *name); // its value up to CRLF, or NULL
size_t head_length(const char *data, size_t len);       // 0: incomplete
uint64_t now(void);                                     // nanoseconds, monotonic
void wire_begin(void);
void die(const char *what);
int nonblocking(int fd);
int wait_until(int poller, void *events, int most, uint64_t due); // due 0: for ever

#endif
