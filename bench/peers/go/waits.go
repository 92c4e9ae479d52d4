package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func pingPongSpinning(rounds int) work {
	return work{operations: rounds, run: func() uint32 {
		const stop = ^uint64(0)
		ping, pong := make(chan uint64, 2), make(chan uint64, 2)
		poll := func(c chan uint64) uint64 {
			for {
				select {
				case value := <-c:
					return value
				default:
				}
			}
		}
		var here atomic.Bool
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			here.Store(true)
			for value := poll(ping); value != stop; value = poll(ping) {
				pong <- value + 1
			}
			wg.Done()
		}()
		for !here.Load() {
		}
		sum := uint32(0)
		for i := 0; i < rounds; i++ {
			ping <- uint64(i)
			sum = fold(sum, poll(pong))
		}
		ping <- stop
		wg.Wait()
		return sum
	}}
}

func select2(p params) work {
	batch, waiting := p.or("messages", 8192), p.get("waiting") != 0
	return work{operations: batch, run: func() uint32 {
		random := newSequence(1)
		sum := uint32(0)
		if !waiting {
			both := [2]chan uint64{make(chan uint64, 128), make(chan uint64, 128)}
			for i := 0; i < batch; i++ {
				both[random.below(2)] <- uint64(i)
				select {
				case value := <-both[0]:
					sum = fold(sum, value)
				case value := <-both[1]:
					sum = fold(sum, value)
				}
			}
			return sum
		}
		both := [2]chan uint64{make(chan uint64), make(chan uint64)}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			for i := 0; i < batch; i++ {
				both[random.below(2)] <- uint64(i)
			}
			wg.Done()
		}()
		for i := 0; i < batch; i++ {
			select {
			case value := <-both[0]:
				sum = fold(sum, value)
			case value := <-both[1]:
				sum = fold(sum, value)
			}
		}
		wg.Wait()
		return sum
	}}
}

func timerWheel(p params) work {
	const stride = 7919
	count := p.get("timers")
	type task struct {
		event chan struct{}
		woken uint64
	}
	tasks := make([]task, count)
	var round, ended sync.WaitGroup
	var stopping atomic.Bool
	limit := func(random *sequence) time.Duration {
		return time.Duration(10_000_000_000 + random.below(10_000_000_000>>3)<<3)
	}
	ended.Add(count)
	for i := range tasks {
		tasks[i].event = make(chan struct{}, 1)
		go func(i int) {
			defer ended.Done()
			random := newSequence(uint64(i) + 1)
			timer := time.NewTimer(limit(&random))
			for {
				inTime := false
				select {
				case <-tasks[i].event:
					inTime = true
				case <-timer.C:
				}
				if stopping.Load() {
					timer.Stop()
					return
				}
				if inTime {
					tasks[i].woken += uint64(i) + 1
				}
				round.Done()
				timer.Reset(limit(&random))
			}
		}(i)
	}
	for i := 0; i < 4; i++ {
		runtime.Gosched()
	}
	return work{operations: count, run: func() uint32 {
		round.Add(count)
		at := 0
		for i := 0; i < count; i++ {
			at = (at + stride) % count
			tasks[at].event <- struct{}{}
			if i%64 == 63 {
				runtime.Gosched()
			}
		}
		round.Wait()
		sum := uint32(0)
		for i := range tasks {
			sum = fold(sum, tasks[i].woken)
			tasks[i].woken = 0
		}
		return sum
	}, finish: func(map[string]float64) {
		stopping.Store(true)
		for i := range tasks {
			tasks[i].event <- struct{}{}
		}
		ended.Wait()
	}}
}

func timerFire(p params) work {
	const stride, spacing = 7919, 10_000
	count := p.get("timers")
	late := make([]int64, count)
	return work{operations: count, cold: true, runLatency: func(l *latencies) uint32 {
		gate := make(chan int)
		var here, ended sync.WaitGroup
		here.Add(count)
		ended.Add(count)
		base := int64(0)
		place := 0
		for i := 0; i < count; i++ {
			place = (place + stride) % count
			go func(place int) {
				here.Done()
				<-gate
				intended := base + int64(place)*spacing
				time.Sleep(time.Duration(intended - nowNs()))
				late[place] = nowNs() - intended
				ended.Done()
			}(place)
		}
		here.Wait()
		base = nowNs() + 100_000_000
		close(gate)
		ended.Wait()
		sum := uint32(0)
		for i := range late {
			l.record(late[i])
			if late[i] >= 0 {
				sum = fold(sum, uint64(i))
			} else {
				sum = fold(sum, 0)
			}
		}
		return sum
	}}
}

func hogs(p params) work {
	const period = 5_000_000
	processors, wakes := p.get("processors"), p.get("wakes")
	return work{operations: wakes, runLatency: func(l *latencies) uint32 {
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Add(processors)
		for i := 0; i < processors; i++ {
			go func() {
				for !stop.Load() {
				}
				wg.Done()
			}()
		}
		sum := uint32(0)
		intended := nowNs()
		for i := 0; i < wakes; i++ {
			intended += period
			time.Sleep(time.Duration(intended - nowNs()))
			l.record(nowNs() - intended)
			sum = fold(sum, uint64(i))
		}
		stop.Store(true)
		wg.Wait()
		return sum
	}}
}

// blockingIO reads with the system call, not through the poller: see the case's head.
func blockingIO(p params) work {
	const stride = 7919
	count, rounds := p.get("readers"), p.get("rounds")
	pipes := make([][2]int, count)
	pipe := func() (ends [2]int) {
		if err := syscall.Pipe(ends[:]); err != nil {
			fail("pipe: " + err.Error())
		}
		return ends
	}
	answers := pipe()
	sums := make([]uint64, count)
	for i := range pipes {
		pipes[i] = pipe()
		go func(i int) {
			var byte_ [1]byte
			for {
				if n, err := syscall.Read(pipes[i][0], byte_[:]); n != 1 || err != nil {
					return
				}
				sums[i] += uint64(byte_[0])
				if n, err := syscall.Write(answers[1], byte_[:]); n != 1 || err != nil {
					return
				}
			}
		}(i)
	}
	return work{operations: count * rounds, run: func() uint32 {
		// The writer has a thread of its own, as in the other subjects.
		done := make(chan bool)
		go func() {
			runtime.LockOSThread()
			at := 0
			var bytes [256]byte
			for round := 0; round < rounds; round++ {
				for i := 0; i < count; i++ {
					at = (at + stride) % count
					bytes[0] = byte(at + round)
					if n, err := syscall.Write(pipes[at][1], bytes[:1]); n != 1 || err != nil {
						done <- false
						return
					}
				}
				for back := 0; back < count; {
					want := count - back
					if want > len(bytes) {
						want = len(bytes)
					}
					n, err := syscall.Read(answers[0], bytes[:want])
					if n <= 0 || err != nil {
						done <- false
						return
					}
					back += n
				}
			}
			done <- true
		}()
		sum := uint32(0)
		if !<-done {
			sum = 1
		}
		for i := range sums {
			sum = fold(sum, sums[i])
			sums[i] = 0
		}
		return sum
	}}
}
