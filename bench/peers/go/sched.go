package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func spawnJoin(p params) work {
	results := make([]uint64, p.get("batch"))
	return work{operations: len(results), run: func() uint32 {
		var wg sync.WaitGroup
		wg.Add(len(results))
		for i := range results {
			go func(i int) {
				results[i] = uint64(i) + 1
				wg.Done()
			}(i)
		}
		wg.Wait()
		sum := uint32(0)
		for i := range results {
			sum = fold(sum, results[i])
			results[i] = 0
		}
		return sum
	}}
}

func spawnOne(p params) work {
	batch := p.or("batch", 1024)
	return work{operations: batch, run: func() uint32 {
		sum := uint32(0)
		var wg sync.WaitGroup
		result := uint64(0)
		for i := 0; i < batch; i++ {
			wg.Add(1)
			go func(i int) {
				result = uint64(i) + 1
				wg.Done()
			}(i)
			wg.Wait()
			sum = fold(sum, result)
		}
		return sum
	}}
}

func spawnCold(p params) work {
	results := make([]uint64, p.get("tasks"))
	return work{operations: len(results), cold: true, run: func() uint32 {
		var wg sync.WaitGroup
		wg.Add(len(results))
		for i := range results {
			go func(i int) {
				results[i] = uint64(i) + 1
				wg.Done()
			}(i)
		}
		wg.Wait()
		sum := uint32(0)
		for i := range results {
			sum = fold(sum, results[i])
		}
		return sum
	}}
}

// A goroutine is always detached.
func spawnDetached(p params) work {
	return spawnJoin(params{"batch": int64(p.or("batch", 1024))})
}

func injectVsLocal(p params) work {
	if p.get("outside") != 0 {
		fail("skipped: goroutines cannot be started from outside")
	}
	tasks := p.or("tasks", 8192)
	return work{operations: tasks, run: func() uint32 {
		var wg sync.WaitGroup
		var total atomic.Uint64
		wg.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() {
				total.Add(1)
				wg.Done()
			}()
		}
		wg.Wait()
		return fold(0, total.Load())
	}}
}

// sideBySide calls f(0) to f(n-1), each in a goroutine, and waits for all.
func sideBySide(n int, f func(int)) {
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		go func(i int) {
			f(i)
			wg.Done()
		}(i)
	}
	wg.Wait()
}

func foldAndClear(results []uint64) uint32 {
	sum := uint32(0)
	for i := range results {
		sum = fold(sum, results[i])
		results[i] = 0
	}
	return sum
}

func pool(p params) work {
	results := make([]uint64, p.or("batch", 1024))
	producers := p.get("producers")
	jobs := make(chan func(), 2*len(results))
	for i := runtime.GOMAXPROCS(0); i > 0; i-- {
		go func() {
			for job := range jobs {
				job()
			}
		}()
	}
	produce := func(which int) {
		share := len(results) / producers
		var wg sync.WaitGroup
		wg.Add(share)
		for i := which * share; i < (which+1)*share; i++ {
			i := i
			jobs <- func() {
				results[i] = uint64(i) + 1
				wg.Done()
			}
		}
		wg.Wait()
	}
	return work{operations: len(results), run: func() uint32 {
		if producers == 1 {
			produce(0)
		} else {
			sideBySide(producers, produce)
		}
		return foldAndClear(results)
	}}
}

// poolBurst: 4 to 1,024 workers, one started where none is free, and a queue of 256.
func poolBurst(p params) work {
	const producers, least, most, room = 4, 4, 1024, 256
	results := make([]uint64, p.get("jobs"))
	queue := make(chan func(), room)
	var lock sync.Mutex
	var started, given atomic.Int64 // given: jobs that have not ended
	start := func() {
		started.Add(1)
		go func() {
			for job := range queue {
				job()
				given.Add(-1)
			}
		}()
	}
	for i := 0; i < least; i++ {
		start()
	}
	submit := func(job func()) {
		if others := given.Add(1) - 1; others >= started.Load() && others < most {
			lock.Lock()
			if started.Load() < most {
				start()
			}
			lock.Unlock()
		}
		queue <- job
	}
	var unfinished atomic.Int64
	var highest [producers]int64
	produce := func(which int) {
		share := len(results) / producers
		var wg sync.WaitGroup
		wg.Add(share)
		for i := which * share; i < (which+1)*share; i++ {
			i := i
			submit(func() {
				results[i] = uint64(i) + 1
				time.Sleep(time.Millisecond)
				unfinished.Add(-1)
				wg.Done()
			})
			if now := unfinished.Add(1); now > highest[which] {
				highest[which] = now
			}
		}
		wg.Wait()
	}
	return work{operations: len(results), run: func() uint32 {
		sideBySide(producers, produce)
		return foldAndClear(results)
	}, finish: func(counters map[string]float64) {
		counters["workers_max"] = float64(started.Load())
		for _, n := range highest {
			if float64(n) > counters["unfinished_max"] {
				counters["unfinished_max"] = float64(n)
			}
		}
	}}
}

const counterEach = 64

func counterMutex(p params) work {
	tasks := p.or("tasks", 1000)
	g := &guarded{}
	return work{operations: tasks * counterEach, run: func() uint32 {
		g.value = 0
		var wg sync.WaitGroup
		wg.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() {
				for n := 0; n < counterEach; n++ {
					g.mutex.Lock()
					g.value++
					g.mutex.Unlock()
				}
				wg.Done()
			}()
		}
		wg.Wait()
		return fold(0, g.value)
	}}
}

func counterAtomic(p params) work {
	tasks := p.or("tasks", 1000)
	return work{operations: tasks * counterEach, run: func() uint32 {
		var value atomic.Uint64
		var wg sync.WaitGroup
		wg.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() {
				for n := 0; n < counterEach; n++ {
					value.Add(1)
				}
				wg.Done()
			}()
		}
		wg.Wait()
		return fold(0, value.Load())
	}}
}

func yield(p params) work {
	const tasks = 8
	each := p.or("each", 4096)
	return work{operations: tasks * each, run: func() uint32 {
		var counts [tasks * 16]uint64
		var wg sync.WaitGroup
		wg.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func(i int) {
				mine := uint64(0)
				for n := 0; n < each; n++ {
					runtime.Gosched()
					mine += uint64(n)
				}
				counts[i*16] = mine
				wg.Done()
			}(i)
		}
		wg.Wait()
		sum := uint32(0)
		for _, count := range counts {
			sum = fold(sum, count)
		}
		return sum
	}}
}

func pingPong(p params) work {
	rounds := p.or("rounds", 2048)
	if p.or("spinning", 0) != 0 {
		return pingPongSpinning(rounds)
	}
	return roundTrips(rounds, false)
}

func pinned(p params) work {
	return roundTrips(p.or("rounds", 2048), p.get("pinned") != 0)
}

// roundTrips is over two unbuffered channels; pins: the goroutine that answers stays on its thread.
func roundTrips(rounds int, pins bool) work {
	return work{operations: rounds, run: func() uint32 {
		ping, pong := make(chan uint64), make(chan uint64)
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			if pins {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread() // else the thread ends with the goroutine
			}
			for value := range ping {
				pong <- value + 1
			}
			wg.Done()
		}()
		sum := uint32(0)
		for i := 0; i < rounds; i++ {
			ping <- uint64(i)
			sum = fold(sum, <-pong)
		}
		close(ping)
		wg.Wait()
		return sum
	}}
}

func dynamicProcessors(p params) work {
	const tasks = 16
	changes, yields := p.or("changes", 64), p.get("yields")
	return work{operations: changes, run: func() uint32 {
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() {
				for !stop.Load() {
					runtime.Gosched()
				}
				wg.Done()
			}()
		}
		sum := uint32(0)
		for i := 0; i < changes; i++ {
			runtime.GOMAXPROCS(1 + i%2)
			for n := 0; n < yields; n++ {
				runtime.Gosched()
			}
			sum = fold(sum, uint64(i))
		}
		stop.Store(true)
		wg.Wait()
		runtime.GOMAXPROCS(2)
		return sum
	}}
}

func chanSPSC(p params) work {
	messages := p.or("messages", 32768)
	return work{operations: messages, run: func() uint32 {
		channel := make(chan uint64, 128)
		sum := uint32(0)
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			mine := uint32(0)
			for value := range channel {
				mine = fold(mine, value)
			}
			sum = mine
			wg.Done()
		}()
		for i := 0; i < messages; i++ {
			channel <- uint64(i)
		}
		close(channel)
		wg.Wait()
		return sum
	}}
}

func chanMPMC(p params) work {
	const sides = 8
	each := p.or("each", 2048)
	return work{operations: sides * each, run: func() uint32 {
		channel := make(chan uint64, 128)
		var sums [sides * 32]uint32
		var receivers, senders sync.WaitGroup
		receivers.Add(sides)
		senders.Add(sides)
		for side := 0; side < sides; side++ {
			go func(side int) {
				mine := uint32(0)
				for value := range channel {
					mine = fold(mine, value)
				}
				sums[side*32] = mine
				receivers.Done()
			}(side)
		}
		for side := 0; side < sides; side++ {
			go func(side int) {
				for i := 0; i < each; i++ {
					channel <- uint64(side*each + i)
				}
				senders.Done()
			}(side)
		}
		senders.Wait()
		close(channel)
		receivers.Wait()
		total := uint32(0)
		for _, sum := range sums {
			total += sum
		}
		return total
	}}
}

// guarded is a word under a mutex, on the heap as the C++ one is.
type guarded struct {
	mutex sync.Mutex
	value uint64
}

func mutexUncontended(params) work {
	const batch = 16384
	g := &guarded{}
	return work{operations: batch, run: func() uint32 {
		g.value = 0
		for i := uint64(0); i < batch; i++ {
			g.mutex.Lock()
			g.value += i
			g.mutex.Unlock()
		}
		return fold(0, g.value)
	}}
}

func mutexContended(p params) work {
	const tasks = 16
	each := p.or("each", 4096)
	g := &guarded{}
	return work{operations: tasks * each, run: func() uint32 {
		g.value = 0
		var wg sync.WaitGroup
		wg.Add(tasks)
		for task := 0; task < tasks; task++ {
			go func(task int) {
				for i := 0; i < each; i++ {
					g.mutex.Lock()
					g.value += uint64(task + i)
					g.mutex.Unlock()
				}
				wg.Done()
			}(task)
		}
		wg.Wait()
		return fold(0, g.value)
	}}
}

// entry's words are each other's complement wherever no writer is inside.
type entry struct{ value, inverse uint64 }

const entries = 64

func rwMutex(p params) work {
	const tasks = 16
	each, percent := p.or("each", 4096), p.or("write_percent", 5)
	g := &struct {
		mutex sync.RWMutex
		table [entries]entry
	}{}
	return work{operations: tasks * each, run: func() uint32 {
		for i := range g.table {
			g.table[i] = entry{0, ^uint64(0)}
		}
		var torn [tasks]uint64
		var wg sync.WaitGroup
		wg.Add(tasks)
		for task := 0; task < tasks; task++ {
			go func(task int) {
				bad := uint64(0)
				due := task * 100 / tasks
				for i := 0; i < each; i++ {
					e := &g.table[(i+5*task)%entries]
					due += percent
					if due >= 100 {
						due -= 100
						g.mutex.Lock()
						e.value += uint64(task + i)
						e.inverse = ^e.value
						g.mutex.Unlock()
					} else {
						g.mutex.RLock()
						if e.value != ^e.inverse {
							bad++
						}
						g.mutex.RUnlock()
					}
				}
				torn[task] = bad
				wg.Done()
			}(task)
		}
		wg.Wait()
		sum := uint32(0)
		for _, e := range g.table {
			sum = fold(sum, e.value)
		}
		for _, bad := range torn {
			sum += uint32(bad)
		}
		return sum
	}}
}

func rwUncontended(params) work {
	const batch = 16384
	g := &struct {
		mutex sync.RWMutex
		value uint64
	}{value: 1}
	return work{operations: batch, run: func() uint32 {
		total := uint64(0)
		for i := uint64(0); i < batch; i++ {
			g.mutex.RLock()
			total += g.value
			g.mutex.RUnlock()
		}
		return fold(0, total)
	}}
}

func skynetNode(number, size uint64, result *uint64) {
	if size == 1 {
		*result = number
		return
	}
	var results [10]uint64
	var wg sync.WaitGroup
	wg.Add(10)
	for i := uint64(0); i < 10; i++ {
		go func(i uint64) {
			skynetNode(number+i*(size/10), size/10, &results[i])
			wg.Done()
		}(i)
	}
	wg.Wait()
	sum := uint64(0)
	for _, part := range results {
		sum += part
	}
	*result = sum
}

func skynet(p params) work {
	leaves := uint64(p.get("leaves"))
	return work{operations: int((10*leaves - 1) / 9), run: func() uint32 {
		result := uint64(0)
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			skynetNode(0, leaves, &result)
			wg.Done()
		}()
		wg.Wait()
		return fold(0, result)
	}}
}

func parkedMemory(p params) work {
	count := p.get("count")
	before, beforeTables := residentBytes(), statusBytes("VmPTE")
	gate := make(chan int)
	var ended sync.WaitGroup
	return work{operations: count, cold: true, run: func() uint32 {
		var arrived sync.WaitGroup
		arrived.Add(count)
		ended.Add(count)
		for i := 0; i < count; i++ {
			go func() {
				arrived.Done()
				<-gate
				ended.Done()
			}()
		}
		arrived.Wait()
		return fold(0, uint64(count))
	}, afterBatch: func(counters map[string]float64) {
		for i := 0; i < 16; i++ {
			runtime.Gosched()
		}
		grown := residentBytes() - before
		counters["bytes_per_op"] = grown / float64(count)
		counters["rss_bytes"] = grown
		counters["page_table_bytes"] = statusBytes("VmPTE") - beforeTables
		close(gate)
		ended.Wait()
	}}
}

func wakeLatency(params) work {
	const batch, period = 50, 200_000
	return work{operations: batch, evolves: true, runLatency: func(l *latencies) uint32 {
		wakes := make(chan int64, batch)
		go func() {
			runtime.LockOSThread()
			start := nowNs() + 100_000
			for i := int64(0); i < batch; i++ {
				intended := start + i*period
				for nowNs() < intended {
				}
				wakes <- intended
			}
		}()
		sum := uint32(0)
		for i := 0; i < batch; i++ {
			intended := <-wakes
			l.record(nowNs() - intended)
			sum = fold(sum, uint64(i))
		}
		return sum
	}}
}

// bystander wakes every 500 us and records how late; see gc/pause_steady.
type bystander struct {
	late *latencies
	stop chan struct{}
	done sync.WaitGroup
}

func newBystander() *bystander {
	b := &bystander{late: newLatencies(), stop: make(chan struct{})}
	b.done.Add(1)
	go func() {
		defer b.done.Done()
		intended := nowNs()
		for {
			select {
			case <-b.stop:
				return
			default:
			}
			intended += 500_000
			time.Sleep(time.Duration(intended - nowNs()))
			b.late.record(nowNs() - intended)
		}
	}()
	return b
}
