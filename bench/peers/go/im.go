package main

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// The protocol stands in bench/subjects/im_servers.hpp; numbers as the machine has them: both that we know are little-endian.
const (
	imFrame   = 32
	imJoin    = 1
	imSay     = 2
	imBeat    = 3
	imSilence = 250 * time.Millisecond
)

type imRoom struct {
	lock    sync.Mutex
	members []net.Conn
}

type imRooms struct {
	lock sync.Mutex
	all  map[uint32]*imRoom
}

func (r *imRooms) find(number uint32) *imRoom {
	r.lock.Lock()
	defer r.lock.Unlock()
	room := r.all[number]
	if room == nil {
		room = &imRoom{}
		r.all[number] = room
	}
	return room
}

func (r *imRoom) leave(c net.Conn) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for i, member := range r.members {
		if member == c {
			r.members = append(r.members[:i], r.members[i+1:]...)
			return
		}
	}
}

func serveIM(listener net.Listener, pinned bool) {
	rooms := &imRooms{all: map[uint32]*imRoom{}}
	for {
		c, err := listener.Accept()
		if err != nil {
			continue
		}
		go imConnection(c, rooms, pinned)
	}
}

func imConnection(c net.Conn, rooms *imRooms, pinned bool) {
	if pinned {
		runtime.LockOSThread()
	}
	defer c.Close()
	var room *imRoom
	buffer := make([]byte, 1024)
	beat := make([]byte, imFrame)
	binary.LittleEndian.PutUint32(beat, imBeat)
	end := 0
	for {
		if c.SetReadDeadline(time.Now().Add(imSilence)) != nil {
			break
		}
		n, err := c.Read(buffer[end:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if room != nil {
				room.lock.Lock()
				_, _ = c.Write(beat)
				room.lock.Unlock()
			}
			continue
		}
		if err != nil || n == 0 {
			break
		}
		end += n
		at := 0
		for ; end-at >= imFrame; at += imFrame {
			frame := buffer[at : at+imFrame]
			switch kind := binary.LittleEndian.Uint32(frame); {
			case kind == imJoin && room == nil:
				room = rooms.find(binary.LittleEndian.Uint32(frame[4:]))
				room.lock.Lock()
				room.members = append(room.members, c)
				_, _ = c.Write(frame)
				room.lock.Unlock()
			case kind == imSay && room != nil:
				room.lock.Lock()
				for _, member := range room.members {
					_, _ = member.Write(frame)
				}
				room.lock.Unlock()
			}
		}
		copy(buffer, buffer[at:end])
		end -= at
	}
	if room != nil {
		room.leave(c)
	}
}
