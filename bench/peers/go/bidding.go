package main

import (
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// The work stands in bench/subjects/bidding_servers.hpp.
const (
	bidFrame      = 32
	bidEvents     = 8
	bidCandidates = 64
	bidUserBytes  = 640
)

type bidEvent struct {
	user  uint64
	words [7]uint64
}

type bidDetail struct{ words [16]uint64 }

type bidCandidate struct {
	next   *bidCandidate
	detail *bidDetail
	score  uint64
	words  [4]uint64
}

type bidUser struct {
	events [bidEvents]*bidEvent
	words  [7]uint64
}

type bidBook struct{ users []*bidUser }

// newBidBook takes "bidding:<MB>:<percent>".
func newBidBook(what string) *bidBook {
	parts := strings.Split(what, ":")
	if len(parts) != 3 {
		os.Exit(1)
	}
	mb, err := strconv.Atoi(parts[1])
	percent, err2 := strconv.Atoi(parts[2])
	if err != nil || err2 != nil {
		os.Exit(1)
	}
	debug.SetGCPercent(percent)
	book := &bidBook{users: make([]*bidUser, mb<<20/bidUserBytes)}
	for i := range book.users {
		user := &bidUser{}
		for k := range user.events {
			user.events[k] = &bidEvent{user: uint64(i)}
		}
		book.users[i] = user
	}
	return book
}

func (b *bidBook) answer(number uint64) uint64 {
	random := newSequence(number + 1)
	i := random.below(len(b.users))
	user := b.users[i]
	interest := uint64(0)
	for _, e := range user.events {
		interest += e.user - uint64(i) // 0
	}
	var list *bidCandidate
	for k := 0; k < bidCandidates; k++ {
		detail := &bidDetail{}
		detail.words[k%16] = random.next()
		list = &bidCandidate{next: list, detail: detail, score: detail.words[k%16] >> 8}
	}
	best := uint64(0)
	for c := list; c != nil; c = c.next {
		if score := c.score + c.detail.words[0]%8; score > best {
			best = score
		}
	}
	won := &bidEvent{user: uint64(i)}
	won.words[0] = best
	user.events[number%bidEvents] = won
	return best + interest
}

func serveBidding(listener net.Listener, book *bidBook) {
	for {
		c, err := listener.Accept()
		if err != nil {
			continue
		}
		go bidConnection(c, book)
	}
}

func bidConnection(c net.Conn, book *bidBook) {
	defer c.Close()
	in := make([]byte, 1024)
	end := 0
	for {
		n, err := c.Read(in[end:])
		if err != nil || n == 0 {
			return
		}
		end += n
		at := 0
		for ; end-at >= bidFrame; at += bidFrame {
			frame := in[at : at+bidFrame]
			number := binary.LittleEndian.Uint64(frame[8:])
			price := uint64(0)
			if number == ^uint64(0) {
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				price = uint64(memory.NumGC)
			} else {
				price = book.answer(number)
			}
			binary.LittleEndian.PutUint64(frame[16:], price)
		}
		if at != 0 {
			if _, err := c.Write(in[:at]); err != nil {
				return
			}
		}
		copy(in, in[at:end])
		end -= at
	}
}
