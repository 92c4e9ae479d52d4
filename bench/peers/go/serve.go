package main

import (
	"net"
	"os"
	"runtime"
)

// serve is the server of scenario/echo: it writes its port, as two bytes, to standard output, and serves until it is killed. The client is the
// harness's, the same for all subjects.
func serve() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	// As the machine has it: both that we know are little-endian.
	if _, err := os.Stdout.Write([]byte{byte(port), byte(port >> 8)}); err != nil {
		os.Exit(1)
	}
	os.Stdout.Close()
	for {
		connection, err := listener.Accept()
		if err != nil {
			continue
		}
		go func() {
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
		}()
	}
}
