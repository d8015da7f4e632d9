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
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is one request as net/http parsed it. Bodies are told by length and digest; in texts each
// byte is one character, as in Latin-1, because JSON has no bytes.
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

// memory holds what was seen; `wires` are the bytes received by connection, `busy` those connections
// that are in the middle of something.
type memory struct {
	lock     sync.Mutex
	accepted int
	requests []*Request
	wires    map[int][]byte
	busy     map[int]bool
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
		Connection: c.id, Number: c.served, Method: r.Method, Target: latin1(r.RequestURI),
		Path: latin1(r.URL.Path), Protocol: r.Proto, Host: latin1(r.Host), Headers: texts(r.Header),
	}
	m.requests = append(m.requests, seen)
	return seen
}

func latin1(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

func texts(header http.Header) map[string][]string {
	all := map[string][]string{}
	for name, values := range header {
		for _, value := range values {
			all[name] = append(all[name], latin1(value))
		}
	}
	return all
}

func (m *memory) serve(w http.ResponseWriter, r *http.Request) {
	seen := m.note(r)
	digest := sha256.New()
	length, err := io.Copy(digest, r.Body)
	m.lock.Lock()
	seen.Length, seen.SHA256 = length, hex.EncodeToString(digest.Sum(nil))
	seen.Whole, seen.Trailers = err == nil, texts(r.Trailer)
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

// tell hands out what was seen; a POST forgets it, but for connections that are busy.
func (m *memory) tell(w http.ResponseWriter, r *http.Request) {
	m.lock.Lock()
	defer m.lock.Unlock()
	wires := map[int]string{}
	for id, wire := range m.wires {
		wires[id] = hex.EncodeToString(wire)
	}
	json.NewEncoder(w).Encode(map[string]any{"requests": m.requests, "wires": wires})
	if r.Method == http.MethodPost {
		m.requests = slices.DeleteFunc(m.requests, func(r *Request) bool { return !m.busy[r.Connection] })
		maps.DeleteFunc(m.wires, func(id int, _ []byte) bool { return !m.busy[id] })
	}
}

func (m *memory) turned(c net.Conn, state http.ConnState) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if id := c.(*conn).id; state == http.StateNew || state == http.StateActive {
		m.busy[id] = true
	} else {
		delete(m.busy, id)
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
	m := &memory{wires: map[int][]byte{}, busy: map[int]bool{}}
	door, control := listen(), listen()
	server := &http.Server{
		Handler:   http.HandlerFunc(m.serve),
		ConnState: m.turned,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key{}, c)
		},
	}
	go func() { log.Fatal(http.Serve(control, http.HandlerFunc(m.tell))) }()
	fmt.Println(door.Addr(), control.Addr())
	log.Fatal(server.Serve(listener{door, m}))
}
