// upstream: stands where Ollama would, and answers as each request's X-Bench header plans.
//
// One thread and one epoll. It prints its port, and tells GET /late how late it was with lines.
// A request without a plan (the gate looks at Ollama now and then) gets an empty list of models.
#define _GNU_SOURCE
#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MOST 8192
#define MOST 65536

struct conn {
    int fd, reading, bad;
    uint32_t life; // so that a line planned for another connection of this number is dropped
    size_t len;
    struct plan plan;
    struct body body;
    uint64_t received, sent;
    uint32_t lines;
    char head[HEAD_MOST + 1];
};
struct turn {
    struct conn *conn;
    uint32_t life;
    uint64_t due;
};

static struct conn *conns[MOST];
static struct turn turns[MOST]; // a ring: all streams have one pace, so they take turns
static uint32_t first, last;
static uint64_t written, late_sum, late_most;
static int epoll;
static char scratch[BLOCK];

static void write_all(struct conn *c, const char *data, size_t len) {
    if (write(c->fd, data, len) != (ssize_t)len && errno != EPIPE && errno != ECONNRESET)
        c->bad = 1;
}

static void watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void drop(struct conn *c) {
    close(c->fd);
    c->fd = -1, c->life++;
}

static void answer(struct conn *c, const char *type, const char *body) {
    char out[1024];
    int len = snprintf(out, sizeof out,
                       "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                       "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n%s",
                       c->bad ? "500 Internal Server Error" : "200 OK", type, strlen(body), body);
    write_all(c, out, len);
}

static void plan_turn(struct conn *c, uint64_t due) {
    turns[last++ % MOST] = (struct turn){c, c->life, due};
}

static int chunk(struct conn *c, char *out) {
    char text[DELTA_MOST];
    int size = LINE;
    if (c->plan.mode == DELTAS)
        size = delta(c->plan.seed, c->lines++, text);
    else
        line(c->plan.seed, c->lines++, text);
    int len = sprintf(out, "%x\r\n", size);
    memcpy(out + len, text, size);
    memcpy(out + len + size, "\r\n", 2);
    written++;
    return len + size + 2;
}

static void end_deltas(struct conn *c) {
    static const char stop[] = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","
                               "\"created\":1,\"model\":\"llama2:7b\",\"choices\":[{\"index\":0,"
                               "\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    static const char done[] = "e\r\ndata: [DONE]\n\n\r\n";
    char out[DELTA_MOST];
    write_all(c, out, sprintf(out, "%zx\r\n%s\r\n", sizeof stop - 1, stop));
    write_all(c, done, sizeof done - 1);
}

static void end_stream(struct conn *c) {
    if (c->plan.mode == DELTAS)
        end_deltas(c);
    write_all(c, "0\r\n\r\n", 5); // by itself, as net/http does it
    c->reading = 0;
}

static void begin_stream(struct conn *c) {
    char out[1024];
    int len = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
                           "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n",
                      c->plan.mode == DELTAS ? "text/event-stream" : "application/x-ndjson");
    c->lines = 0;
    write_all(c, out, len + chunk(c, out + len));
    if (c->plan.chunks > 1)
        plan_turn(c, now() + c->plan.pace * 1000ull);
    else
        end_stream(c);
}

static void take_turn(void) {
    struct turn t = turns[first++ % MOST];
    if (t.life != t.conn->life)
        return;
    char out[DELTA_MOST + 16];
    uint64_t late = now() - t.due;
    late_sum += late;
    if (late > late_most)
        late_most = late;
    write_all(t.conn, out, chunk(t.conn, out));
    if (t.conn->lines < t.conn->plan.chunks)
        plan_turn(t.conn, t.due + t.conn->plan.pace * 1000ull);
    else
        end_stream(t.conn);
}

static void send_sized(struct conn *c) {
    while (c->sent < c->plan.size) {
        uint64_t left = c->plan.size - c->sent;
        ssize_t n = write(c->fd, content(c->plan.seed, c->sent), left < BLOCK ? left : BLOCK);
        if (n <= 0) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        c->sent += n;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->reading = 0;
}

static void begin_sized(struct conn *c) {
    char out[4096];
    int len = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                           "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                           "Content-Length: %llu\r\n\r\n", (unsigned long long)c->plan.size);
    if (len + c->plan.size <= sizeof out) {
        memcpy(out + len, content(c->plan.seed, 0), c->plan.size);
        write_all(c, out, len + c->plan.size);
        c->reading = 0;
        return;
    }
    write_all(c, out, len);
    c->sent = 0;
    send_sized(c);
}

static void own_answer(struct conn *c) {
    char out[256] = "{\"models\":[]}";
    if (!strncmp(c->head, "GET /late ", 10)) {
        struct rusage used;
        getrusage(RUSAGE_SELF, &used);
        sprintf(out, "{\"lines\":%llu,\"late_mean_us\":%.1f,\"late_most_us\":%.1f}",
                (unsigned long long)written, written ? late_sum / 1e3 / written : 0, late_most / 1e3);
        written = late_sum = late_most = 0;
    } else if (!strncmp(c->head, "GET /api/version ", 17)) {
        strcpy(out, "{\"version\":\"0.17.4\"}");
    }
    answer(c, "application/json", out);
    c->reading = 0;
}

static void respond(struct conn *c) {
    char out[64];
    if (c->plan.mode == STREAM || c->plan.mode == DELTAS) {
        begin_stream(c);
    } else if (c->plan.mode == SIZED) {
        begin_sized(c);
    } else {
        c->bad |= c->received != c->plan.size;
        sprintf(out, "{\"read\":%llu}", (unsigned long long)c->received);
        answer(c, "application/json", out);
        c->reading = 0;
    }
}

static void check(void *context, const char *data, size_t len) {
    struct conn *c = context;
    if (c->plan.mode == SINK)
        c->bad |= memcmp(data, content(c->plan.seed, c->received), len) != 0;
    c->received += len;
}

static void take(struct conn *c, const char *data, size_t len) {
    body_take(&c->body, data, len, check, c);
    if (c->body.done && c->plan.mode < UNPLANNED)
        respond(c);
    else if (c->body.done)
        own_answer(c);
}

static void take_head(struct conn *c) {
    ssize_t n = read(c->fd, c->head + c->len, HEAD_MOST - c->len);
    if (n <= 0) {
        drop(c);
        return;
    }
    c->len += n, c->head[c->len] = 0;
    size_t end = head_length(c->head, c->len);
    if (!end)
        return;
    if (!plan_read(c->head, &c->plan))
        c->plan = (struct plan){.mode = UNPLANNED};
    body_begin(&c->body, c->head);
    c->received = c->bad = 0, c->reading = 1;
    size_t rest = c->len - end;
    c->len = 0;
    take(c, c->head + end, rest);
}

static void readable(struct conn *c) {
    if (!c->reading) {
        take_head(c);
        return;
    }
    ssize_t n = read(c->fd, scratch, sizeof scratch);
    if (n <= 0)
        drop(c);
    else if (!c->body.done)
        take(c, scratch, n);
}

static void welcome(int listener) {
    int fd;
    while ((fd = nonblocking(accept(listener, NULL, NULL))) >= 0) {
        if (!conns[fd])
            conns[fd] = calloc(1, sizeof *conns[fd]);
        struct conn *c = conns[fd];
        c->fd = fd, c->len = c->reading = c->bad = 0;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (void *)&address, len) || listen(fd, 8192))
        die("listen");
    getsockname(fd, (void *)&address, &len);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return nonblocking(fd);
}

static void serve(struct epoll_event *event) {
    struct conn *c = event->data.ptr;
    if (c->fd >= 0 && event->events & EPOLLOUT)
        send_sized(c);
    if (c->fd >= 0 && event->events & ~EPOLLOUT)
        readable(c);
}

int main(void) {
    struct epoll_event events[256];
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MOST ? files.rlim_max : MOST;
    setrlimit(RLIMIT_NOFILE, &files);
    wire_begin();
    epoll = epoll_create1(0);
    int listener = listening();
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = wait_until(epoll, events, 256, first == last ? 0 : turns[first % MOST].due);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr)
                serve(&events[i]);
            else
                welcome(listener);
        uint64_t at = now();
        for (int most = 64; most && first != last && turns[first % MOST].due <= at; most--)
            take_turn();
    }
}
