package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
)

// serve is the server of the cases in scenario/: it writes its port, as two bytes, to standard output, and serves until it is killed. The client
// is the harness's, the same for all subjects.
func serve(what string) {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	var book *bidBook
	if strings.HasPrefix(what, "bidding:") {
		book = newBidBook(what)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	// As the machine has it: both that we know are little-endian.
	if _, err := os.Stdout.Write([]byte{byte(port), byte(port >> 8)}); err != nil {
		os.Exit(1)
	}
	os.Stdout.Close()
	if book != nil {
		serveBidding(listener, book)
	}
	switch what {
	case "http":
		serveHTTP(listener)
	case "im", "im_pinned":
		serveIM(listener, what == "im_pinned")
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			continue
		}
		go echo(connection)
	}
}

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func serveHTTP(listener net.Listener) {
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "hello, world\n")
	}
	_ = http.Serve(listener, http.HandlerFunc(answer))
	os.Exit(1)
}
