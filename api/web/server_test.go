package web

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestServerBounds(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Bound(inner, Connections{Total: 10, PerAddress: 2})
	srv := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }), nil, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	}()
	ask := func(header string) (net.Conn, string) {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", header)
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return conn, line
	}
	first, line := ask("")
	if !strings.Contains(line, "200") {
		t.Fatalf("first: %q", line)
	}
	second, line := ask("")
	if !strings.Contains(line, "200") {
		t.Fatalf("second: %q", line)
	}
	third, line := ask("")
	if line != "" {
		t.Fatalf("a third connection of one address was served: %q", line)
	}
	for _, c := range []net.Conn{first, second, third} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The server notices that they are gone; then there is room again.
	for {
		conn, line := ask("X: " + strings.Repeat("a", maxHeader+8<<10) + "\r\n")
		_, _ = io.Copy(io.Discard, conn)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "431") {
			return
		}
		if line != "" {
			t.Fatalf("a large header: %q", line)
		}
	}
}
