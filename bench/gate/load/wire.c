#define _GNU_SOURCE
#include "wire.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define PERIOD 65521 // a prime: no two reads of one body begin at the same place in the pattern
static char pattern[PERIOD + BLOCK];
static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex[] = "0123456789abcdef";
static const char form[] = "{\"model\":\"llama2:7b\",\"created_at\":\"2026-01-01T00:00:00.000000Z\","
                           "\"message\":{\"role\":\"assistant\",\"content\":\"";
static char template[LINE];

void die(const char *what) {
    perror(what);
    exit(1);
}

void wire_begin(void) {
    uint64_t state = 88172645463325252u; // xorshift64
    for (size_t i = 0; i < PERIOD; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        pattern[i] = base64[state % 64];
    }
    for (size_t i = PERIOD; i < sizeof pattern; i++)
        pattern[i] = pattern[i - PERIOD];
    memset(template, ' ', LINE);
    memcpy(template, form, sizeof form - 1);
    memcpy(template + sizeof form - 1 + 16, "\"},\"done\":false}", 16);
    template[LINE - 1] = '\n';
}

const char *content(uint32_t seed, uint64_t at) {
    return pattern + (at + seed * 257u) % PERIOD;
}

void word(uint32_t seed, uint32_t number, char out[WORD]) {
    for (int i = 7; i >= 0; i--, seed >>= 4, number >>= 4)
        out[i] = hex[seed & 15], out[i + 8] = hex[number & 15];
}

void line(uint32_t seed, uint32_t number, char out[LINE]) {
    memcpy(out, template, LINE);
    word(seed, number, out + sizeof form - 1);
}

int delta(uint32_t seed, uint32_t number, char out[DELTA_MOST]) {
    char token[WORD];
    word(seed, number, token);
    return sprintf(out, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","
                        "\"created\":1,\"model\":\"llama2:7b\",\"choices\":[{\"index\":0,\"delta\":"
                        "{\"content\":\"%.*s\"},\"finish_reason\":null}]}\n\n", WORD, token);
}

int plan_write(const struct plan *p, char *out) {
    return sprintf(out, "%d %u %u %u %llu", p->mode, p->seed, p->chunks, p->pace,
                   (unsigned long long)p->size);
}

int plan_read(const char *head, struct plan *p) {
    const char *value = header(head, "x-bench");
    if (!value)
        return 0;
    p->mode = strtoul(value, (char **)&value, 10);
    p->seed = strtoul(value, (char **)&value, 10);
    p->chunks = strtoul(value, (char **)&value, 10);
    p->pace = strtoul(value, (char **)&value, 10);
    p->size = strtoull(value, NULL, 10);
    return 1;
}

const char *header(const char *head, const char *name) {
    size_t len = strlen(name);
    for (const char *at = head; (at = strchr(at, '\n')) && at[1] != '\r';) {
        if (strncasecmp(++at, name, len) || at[len] != ':')
            continue;
        for (at += len + 1; *at == ' '; at++)
            ;
        return at;
    }
    return NULL;
}

size_t head_length(const char *data, size_t len) {
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    return end ? (size_t)(end - data) + 4 : 0;
}

enum { SIZE, EXTENSION, DATA, AFTER, TRAILER, TRAILER_BEGUN };

void body_begin(struct body *body, const char *head) {
    const char *coding = header(head, "transfer-encoding"), *length = header(head, "content-length");
    memset(body, 0, sizeof *body);
    body->chunked = coding && !strncasecmp(coding, "chunked", 7);
    if (!body->chunked && length)
        body->left = strtoull(length, NULL, 10);
    body->done = !body->chunked && !body->left;
}

// One byte of a chunked body that is framing.
static void framing(struct body *b, char c) {
    const char *digit = c ? strchr(hex, c | 0x20) : NULL;
    if (b->phase == SIZE && digit)
        b->left = b->left * 16 + (digit - hex);
    else if (b->phase == SIZE && c == ';')
        b->phase = EXTENSION;
    else if ((b->phase == SIZE || b->phase == EXTENSION) && c == '\n')
        b->phase = b->left ? DATA : TRAILER;
    else if (b->phase == AFTER && c == '\n')
        b->phase = SIZE;
    else if (b->phase == TRAILER && c == '\n')
        b->done = 1;
    else if (b->phase >= TRAILER && c != '\r')
        b->phase = c == '\n' ? TRAILER : TRAILER_BEGUN;
}

size_t body_take(struct body *b, const char *data, size_t len, part *part, void *context) {
    size_t at = 0;
    while (at < len && !b->done) {
        if (b->chunked && b->phase != DATA) {
            framing(b, data[at++]);
            continue;
        }
        size_t some = len - at < b->left ? len - at : b->left;
        part(context, data + at, some);
        at += some, b->left -= some;
        if (!b->left && b->chunked)
            b->phase = AFTER;
        else if (!b->left)
            b->done = 1;
    }
    return at;
}

uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int nonblocking(int fd) {
    if (fd >= 0) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    return fd;
}

int wait_until(int poller, void *events, int most, uint64_t due) {
    uint64_t at = now(), left = due > at ? due - at : 0;
    struct timespec timeout = {left / 1000000000, left % 1000000000};
    int n = epoll_pwait2(poller, events, most, due ? &timeout : NULL, NULL);
    return n < 0 ? 0 : n;
}
