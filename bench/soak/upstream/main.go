// Command upstream stands where Ollama would be for hours: lines at a slow pace, without end if asked.
//
// The query plans each answer: `lines` of `width` characters, `pause` apart, and after how many of
// them it breaks off (`break`). It prints its address; GET /connections tells how many are open, and
// how many of those are idle, which is what the gate has in its pool.
package main

import (
	"crypto/sha1"
	"encoding/base64"
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

const model = `{"name":"soak:latest","model":"soak:latest","size":1,"size_vram":0,"digest":"` +
	`aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","details":{}}`

// states counts connections; those in a tunnel are open and not idle.
type states struct {
	lock sync.Mutex
	of   map[net.Conn]http.ConnState
}

func (s *states) turned(c net.Conn, state http.ConnState) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(s.of, c)
	} else {
		s.of[c] = state
	}
}

func (s *states) tell(w http.ResponseWriter, _ *http.Request) {
	s.lock.Lock()
	defer s.lock.Unlock()
	idle := 0
	for _, state := range s.of {
		if state == http.StateIdle {
			idle++
		}
	}
	fmt.Fprintf(w, `{"open":%d,"idle":%d}`, len(s.of), idle)
}

func number(r *http.Request, name string, otherwise int) int {
	if value, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return value
	}
	return otherwise
}

// stream answers in Ollama's lines, or in OpenAI's events below /v1.
func stream(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	lines, breaks := number(r, "lines", 1), number(r, "break", -1)
	pause, _ := time.ParseDuration(r.URL.Query().Get("pause"))
	word := strings.Repeat("x", number(r, "width", 20))
	prefix, end, last := "", "\n", `{"model":"soak","done":true,"prompt_eval_count":7,"eval_count":`+
		strconv.Itoa(lines)+"}\n"
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		prefix, end, last = "data: ", "\n\n", "data: [DONE]\n\n"
	}
	for i := range lines {
		if i == breaks {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, `%s{"model":"soak","message":{"content":"%s"},"done":false}%s`, prefix, word, end)
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(pause):
		}
	}
	io.WriteString(w, last)
}

// socket echoes whatever comes after a WebSocket's handshake, frames or not.
func socket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, both, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	io.Copy(conn, both)
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

func main() {
	s := &states{of: map[net.Conn]http.ConnState{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/chat", stream)
	mux.HandleFunc("/v1/chat/completions", stream)
	mux.HandleFunc("/socket", socket)
	mux.HandleFunc("/connections", s.tell)
	mux.HandleFunc("/api/version", text(`{"version":"0.17.4"}`))
	mux.HandleFunc("/api/tags", text(`{"models":[`+model+`]}`))
	mux.HandleFunc("/api/ps", text(`{"models":[`+model+`]}`))
	mux.HandleFunc("/api/show", text(`{"details":{}}`))
	mux.HandleFunc("/api/generate", text(`{"model":"soak","done":true}`))
	mux.HandleFunc("/api/blobs/", text(""))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal((&http.Server{Handler: mux, ConnState: s.turned}).Serve(listener))
}
