// load: sends planned requests at planned times, checks every byte of every answer (of DELTAS every
// word), and times them.
//
// Open loop: request k is due at k / rate after the start, whether or not the ones before it have
// been answered; times run from then. Rate 0: as soon as a connection is free. Prints one JSON object.
#define _GNU_SOURCE
#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MOST 16384
#define EVENT_MOST 2048 // of an event's line: a proxy may write more into it than was sent
#define PATIENCE 60000000000ull // without any answer: give up

struct conn {
    int fd, busy, answered, status, closing;
    uint32_t seed;
    uint64_t due, last, sent, got;
    size_t len, event_len;
    uint32_t words;
    int ended; // [DONE] was seen
    struct body body;
    char head[HEAD_MOST + 1], line[LINE], event[EVENT_MOST + 1];
};
struct samples {
    double *values;
    size_t count, most;
};

static struct {
    int port, connections, requests, status, fresh;
    double rate;
    const char *method, *target, *token;
    struct plan plan;
} ask = {.connections = 1, .requests = 1, .status = 200, .method = "GET", .target = "/api/version",
         .token = "", .plan = {.mode = SIZED, .size = 32}};

static struct conn *conns, **idle;
static int idle_count, epoll, asked, done, wrong;
static uint64_t lines, reads, bytes, moved;
static struct samples first_byte, whole, gaps, lateness;
static uint64_t reference; // of what all refusals have to look like
static char trouble[160], scratch[BLOCK];

static void sample(struct samples *s, double value) {
    if (s->count == s->most) {
        s->most = s->most ? s->most * 2 : 1024;
        s->values = realloc(s->values, s->most * sizeof(double));
    }
    s->values[s->count++] = value;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void show(const char *name, struct samples *s) {
    static const double shares[] = {.5, .9, .99, .999, 1};
    static const char *names[] = {"p50", "p90", "p99", "p999", "most"};
    qsort(s->values, s->count, sizeof(double), ascending);
    printf(",\"%s\":{\"count\":%zu", name, s->count);
    for (int i = 0; s->count && i < 5; i++) {
        size_t at = shares[i] * s->count;
        printf(",\"%s\":%.6f", names[i], s->values[at < s->count ? at : s->count - 1]);
    }
    printf("}");
}

static void fault(struct conn *c, const char *what) {
    if (!wrong++)
        snprintf(trouble, sizeof trouble, "%s (status %d, byte %llu)", what, c->status,
                 (unsigned long long)c->got);
}

static void release(struct conn *c, int keep) {
    if (!keep && c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    if (c->busy) {
        idle[idle_count++] = c;
        c->busy = 0;
        done++;
    }
}

static void broken(struct conn *c, const char *what) {
    fault(c, what);
    release(c, 0);
}

static void dial(struct conn *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(ask.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof address))
        die("connect");
    nonblocking(c->fd);
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static uint64_t upload(void) {
    return ask.plan.mode == SINK ? ask.plan.size : 0;
}

static int put(struct conn *c, const char *data, size_t len) {
    ssize_t n = write(c->fd, data, len);
    if (n < 0 && errno != EAGAIN)
        return 0; // who has closed may have answered before: reading tells
    if (n > 0)
        c->sent += n, moved += n;
    return n == (ssize_t)len;
}

static void send_body(struct conn *c) {
    while (c->sent < upload()) {
        uint64_t left = upload() - c->sent;
        if (!put(c, content(c->seed, c->sent), left < BLOCK ? left : BLOCK)) {
            struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
            epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
            return;
        }
    }
    if (upload() > BLOCK) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
}

static void send_request(struct conn *c, uint64_t due) {
    static const char form[] = "%s %s HTTP/1.1\r\nHost: 127.0.0.1:7860\r\nAccept: */*\r\n"
                               "Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
                               "User-Agent: ollama-python/0.6.0 (x86_64 linux) Python/3.13.0\r\n"
                               "Authorization: Bearer %s\r\nX-Bench: %s\r\n%s\r\n%s";
    static const char question[] = "{\"model\":\"llama2:7b\",\"messages\":[{\"role\":\"user\","
                                   "\"content\":\"Why is the sky blue?\"}],\"stream\":true}";
    char plan[PLAN_MOST], type[96] = "", out[1024];
    struct plan own = ask.plan;
    int posts = !strcmp(ask.method, "POST"), asks = posts && !upload();
    own.seed = c->seed;
    plan_write(&own, plan);
    if (posts)
        sprintf(type, "Content-Type: application/json\r\nContent-Length: %llu\r\n",
                asks ? sizeof question - 1ull : (unsigned long long)upload());
    int len = sprintf(out, form, ask.method, ask.target, ask.token, plan, type, asks ? question : "");
    c->due = due, c->last = 0, c->busy = 1;
    c->answered = c->closing = c->status = 0;
    c->len = c->got = c->event_len = c->words = c->ended = 0;
    if (c->fd < 0)
        dial(c);
    sample(&lateness, (now() - due) / 1e9);
    if (write(c->fd, out, len) != len) {
        broken(c, "the request could not be sent");
        return;
    }
    c->sent = 0;
    send_body(c);
}

// A line or a word is complete.
static void count(struct conn *c) {
    uint64_t at = now();
    if (c->last)
        sample(&gaps, (at - c->last) / 1e9);
    c->last = at, lines++;
}

static void check_line(struct conn *c, const char *data, size_t len) {
    while (len) {
        size_t at = c->got % LINE, some = len < LINE - at ? len : LINE - at;
        if (!at)
            line(c->seed, c->got / LINE, c->line);
        if (memcmp(data, c->line + at, some))
            fault(c, "a line isn't the one that was sent");
        c->got += some, data += some, len -= some;
        if (c->got % LINE == 0)
            count(c);
    }
}

static const char *unspaced(const char *at) {
    return at + strspn(at, " \t");
}

// `text`, after a quote, has to be the next word and another quote.
static void check_word(struct conn *c, const char *text) {
    char next[WORD + 1];
    word(c->seed, c->words, next);
    next[WORD] = '"';
    if (c->ended || strncmp(text, next, sizeof next))
        fault(c, "a token isn't the one that was sent");
    if (!c->words++)
        sample(&first_byte, (now() - c->due) / 1e9);
    count(c);
}

// Whatever else the JSON says, and however it is spelled, each content that isn't empty is a word.
static void check_event(struct conn *c) {
    static const char name[] = "\"content\"";
    if (strncmp(c->event, "data:", 5))
        return;
    const char *at = unspaced(c->event + 5);
    if (!strncmp(at, "[DONE]", 6))
        c->ended = 1;
    while ((at = strstr(at, name))) {
        at = unspaced(at + sizeof name - 1);
        if (*at != ':')
            continue;
        at = unspaced(at + 1);
        if (at[0] == '"' && at[1] != '"')
            check_word(c, at + 1);
    }
}

// An event's JSON stands in one line, wherever reads and chunks were cut.
static void check_deltas(struct conn *c, const char *data, size_t len) {
    c->got += len;
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n' && c->event_len < EVENT_MOST) {
            c->event[c->event_len++] = data[i];
            continue;
        }
        if (data[i] != '\n')
            fault(c, "an event is too long");
        c->event[c->event_len] = 0, c->event_len = 0;
        check_event(c);
    }
}

// Of what isn't planned, such as a refusal: all have to be equal.
static void check_refusal(struct conn *c, const char *data, size_t len) {
    uint64_t sum = c->last ? c->last : 14695981039346656037u; // FNV-1a
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ (unsigned char)data[i]) * 1099511628211u;
    c->last = sum;
    c->got += len;
}

static void check(void *context, const char *data, size_t len) {
    struct conn *c = context;
    bytes += len;
    if (c->status != 200 || ask.plan.mode == SINK) {
        check_refusal(c, data, len);
    } else if (ask.plan.mode == STREAM) {
        check_line(c, data, len);
    } else if (ask.plan.mode == DELTAS) {
        check_deltas(c, data, len);
    } else {
        if (c->got + len > ask.plan.size || memcmp(data, content(c->seed, c->got), len))
            fault(c, "a body isn't the one that was sent");
        c->got += len;
    }
}

static int complete(struct conn *c) {
    if (ask.plan.mode == DELTAS)
        return c->ended && c->words == ask.plan.chunks;
    return c->got == (ask.plan.mode == STREAM ? (uint64_t)ask.plan.chunks * LINE : ask.plan.size);
}

static void finish(struct conn *c) {
    if (c->status != ask.status)
        fault(c, "another status than expected");
    else if (c->status == 200 && ask.plan.mode != SINK && !complete(c))
        fault(c, "another length than expected");
    else if ((c->status != 200 || ask.plan.mode == SINK) && reference && c->last != reference)
        fault(c, "answers that should be equal differ");
    else if (c->status != 200 || ask.plan.mode == SINK)
        reference = c->last;
    sample(&whole, (now() - c->due) / 1e9);
    release(c, !c->closing && !ask.fresh);
}

static void take(struct conn *c, const char *data, size_t len) {
    size_t used = body_take(&c->body, data, len, check, c);
    if (used < len)
        broken(c, "bytes after the end of an answer");
    else if (c->body.done)
        finish(c);
}

static void take_head(struct conn *c, size_t len) {
    memcpy(c->head + c->len, scratch, len);
    c->len += len, c->head[c->len] = 0;
    size_t end = head_length(c->head, c->len);
    if (!end)
        return;
    const char *connection = header(c->head, "connection");
    c->answered = 1, c->status = atoi(c->head + 9);
    c->closing = connection && !strncasecmp(connection, "close", 5);
    if (ask.plan.mode != DELTAS) // a proxy may send its head before it has a token
        sample(&first_byte, (now() - c->due) / 1e9);
    body_begin(&c->body, c->head);
    take(c, c->head + end, c->len - end);
}

static void readable(struct conn *c) {
    ssize_t n = read(c->fd, scratch, c->answered ? sizeof scratch : HEAD_MOST - c->len);
    if (n < 0 && errno == EAGAIN)
        return;
    reads++;
    if (n <= 0 && c->busy)
        broken(c, "the connection ended early");
    else if (n <= 0)
        release(c, 0);
    else if (!c->busy)
        broken(c, "bytes that nobody asked for");
    else if (!c->answered)
        take_head(c, n);
    else
        take(c, scratch, n);
}

static uint64_t send_due(uint64_t start) {
    uint64_t at = now();
    while (asked < ask.requests && idle_count) {
        uint64_t due = ask.rate ? start + asked * (1e9 / ask.rate) : at;
        if (due > at)
            return due;
        asked++;
        send_request(idle[--idle_count], due);
    }
    return at + PATIENCE;
}

static void run(uint64_t start) {
    struct epoll_event events[256];
    while (done < ask.requests) {
        uint64_t due = send_due(start);
        int n = wait_until(epoll, events, 256, due);
        if (!n && now() >= due && (asked == ask.requests || !idle_count)) {
            snprintf(trouble, sizeof trouble, "no answer for a minute");
            wrong += ask.requests - done;
            return;
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->fd >= 0 && events[i].events & EPOLLOUT)
                send_body(c);
            if (c->fd >= 0 && events[i].events & ~EPOLLOUT)
                readable(c);
        }
    }
}

static void connections(void) {
    conns = calloc(ask.connections, sizeof *conns);
    idle = calloc(ask.connections, sizeof *idle);
    for (int i = 0; i < ask.connections; i++) {
        conns[i].fd = -1, conns[i].seed = i + 1;
        if (!ask.fresh)
            dial(&conns[i]);
    }
    for (int i = ask.connections; i--;)
        idle[idle_count++] = &conns[i];
}

static enum mode mode(const char *name) {
    static const char *names[] = {"stream", "sized", "sink", "deltas"};
    for (int i = STREAM; i < UNPLANNED; i++)
        if (!strcmp(name, names[i]))
            return i;
    fprintf(stderr, "load: unknown mode %s\n", name);
    exit(2);
}

static void options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) ask.port = atoi(value);
        else if (!strcmp(name, "--connections")) ask.connections = atoi(value);
        else if (!strcmp(name, "--requests")) ask.requests = atoi(value);
        else if (!strcmp(name, "--rate")) ask.rate = atof(value);
        else if (!strcmp(name, "--status")) ask.status = atoi(value);
        else if (!strcmp(name, "--fresh")) ask.fresh = atoi(value);
        else if (!strcmp(name, "--method")) ask.method = value;
        else if (!strcmp(name, "--target")) ask.target = value;
        else if (!strcmp(name, "--token")) ask.token = value;
        else if (!strcmp(name, "--mode")) ask.plan.mode = mode(value);
        else if (!strcmp(name, "--chunks")) ask.plan.chunks = atoi(value);
        else if (!strcmp(name, "--pace")) ask.plan.pace = atoi(value);
        else if (!strcmp(name, "--size")) ask.plan.size = strtoull(value, NULL, 10);
        else fprintf(stderr, "load: unknown option %s\n", name), exit(2);
    }
}

static void report(double seconds) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    size_t stalls = 0;
    for (size_t i = 0; i < gaps.count; i++)
        stalls += gaps.values[i] > ask.plan.pace * 2e-6;
    printf("{\"requests\":%d,\"wrong\":%d,\"trouble\":\"%s\",\"seconds\":%.6f,\"lines\":%llu,"
           "\"reads\":%llu,\"bytes\":%llu,\"cpu\":%.6f,\"stalls\":%zu",
           done, wrong, trouble, seconds, (unsigned long long)lines, (unsigned long long)reads,
           (unsigned long long)(bytes + moved),
           used.ru_utime.tv_sec + used.ru_stime.tv_sec
               + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, stalls);
    show("first", &first_byte);
    show("whole", &whole);
    show("gap", &gaps);
    show("late", &lateness);
    printf("}\n");
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    wire_begin();
    options(argc, argv);
    epoll = epoll_create1(0);
    connections();
    if (!ask.fresh)
        usleep(100000); // a proxy may accept in its own time
    uint64_t start = now();
    run(start);
    report((now() - start) / 1e9);
}
