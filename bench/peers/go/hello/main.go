// hello is the Go program of the case scenario/startup: the same work as hello_tern's, with a goroutine.
package main

import (
	"fmt"
	"os"
)

type greeting struct {
	next    *greeting
	letters int
}

var kept *greeting // so that it is made in the heap

func main() {
	done := make(chan struct{})
	go func() {
		kept = &greeting{}
		text := "hello\n"
		kept.letters = len(text) - 1
		if kept.letters == 5 {
			fmt.Print(text)
		}
		close(done)
	}()
	<-done
	one := make([]byte, 1)
	for {
		if n, err := os.Stdin.Read(one); n == 0 || err != nil {
			return
		}
	}
}
