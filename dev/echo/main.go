// Command echo answers each HTTP request with what Go's net/http made of it, and remembers all.
//
// It stands where Ollama (whose server is net/http too) would stand behind the gate, so that a test
// can hold what the gate forwarded against what a server of Ollama's kind understood. It prints two
// addresses: the server's, and that of a control port which hands out what was seen.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is one request as net/http parsed it. Bodies are told by length and digest.
type Request struct {
	Connection int                 `json:"connection"`
	Number     int                 `json:"number"` // on its connection, from 1
	Method     string              `json:"method"`
	Target     string              `json:"target"` // as received
	Path       string              `json:"path"`   // decoded, what routers match
	Protocol   string              `json:"protocol"`
	Host       string              `json:"host"`
	Headers    map[string][]string `json:"headers"`
	Trailers   map[string][]string `json:"trailers"`
	Length     int64               `json:"length"`
	SHA256     string              `json:"sha256"`
	Whole      bool                `json:"whole"` // the body came to its end
}

// memory holds what was seen since it was last asked; `wires` are the bytes by connection.
type memory struct {
	lock     sync.Mutex
	accepted int
	requests []*Request
	wires    map[int][]byte
}

// conn is a connection that writes down what it receives.
type conn struct {
	net.Conn
	memory *memory
	id     int
	served int
}

func (c *conn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	c.memory.lock.Lock()
	defer c.memory.lock.Unlock()
	c.memory.wires[c.id] = append(c.memory.wires[c.id], into[:n]...)
	return n, err
}

type listener struct {
	net.Listener
	memory *memory
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.memory.lock.Lock()
	defer l.memory.lock.Unlock()
	l.memory.accepted++
	return &conn{Conn: accepted, memory: l.memory, id: l.memory.accepted}, nil
}

type key struct{}

func (m *memory) note(r *http.Request) *Request {
	c := r.Context().Value(key{}).(*conn)
	m.lock.Lock()
	defer m.lock.Unlock()
	c.served++
	seen := &Request{
		Connection: c.id, Number: c.served, Method: r.Method, Target: r.RequestURI,
		Path: r.URL.Path, Protocol: r.Proto, Host: r.Host, Headers: r.Header.Clone(),
	}
	m.requests = append(m.requests, seen)
	return seen
}

func (m *memory) serve(w http.ResponseWriter, r *http.Request) {
	seen := m.note(r)
	digest := sha256.New()
	length, err := io.Copy(digest, r.Body)
	m.lock.Lock()
	seen.Length, seen.SHA256 = length, hex.EncodeToString(digest.Sum(nil))
	seen.Whole, seen.Trailers = err == nil, r.Trailer
	answer, _ := json.Marshal(seen)
	m.lock.Unlock()
	w.Header().Set("X-Echo", fmt.Sprintf("%d.%d", seen.Connection, seen.Number))
	if lines, err := strconv.Atoi(r.URL.Query().Get("lines")); err == nil {
		stream(w, r, lines)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Write(answer)
}

// stream writes `lines` numbered lines of `width` characters more, each flushed, `pause` apart.
func stream(w http.ResponseWriter, r *http.Request, lines int) {
	width, _ := strconv.Atoi(r.URL.Query().Get("width"))
	pause, _ := time.ParseDuration(r.URL.Query().Get("pause"))
	w.Header().Set("Content-Type", "application/x-ndjson")
	for i := range lines {
		fmt.Fprintf(w, "{\"line\":%d,\"padding\":\"%s\"}\n", i, strings.Repeat("x", width))
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(pause):
		}
	}
}

// tell hands out what was seen; a POST forgets it, too.
func (m *memory) tell(w http.ResponseWriter, r *http.Request) {
	m.lock.Lock()
	defer m.lock.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"requests": m.requests, "wires": m.wires})
	if r.Method == http.MethodPost {
		m.requests, m.wires = nil, map[int][]byte{}
	}
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return l
}

func main() {
	m := &memory{wires: map[int][]byte{}}
	door, control := listen(), listen()
	server := &http.Server{
		Handler: http.HandlerFunc(m.serve),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key{}, c)
		},
	}
	go func() { log.Fatal(http.Serve(control, http.HandlerFunc(m.tell))) }()
	fmt.Println(door.Addr(), control.Addr())
	log.Fatal(server.Serve(listener{door, m}))
}
