package main

import (
	"runtime"
	"sync"
)

type plainObject struct{ words [4]uint64 }

type linkNode struct {
	next  *linkNode
	value uint64
}

type treeNode struct{ left, right *treeNode }

type graphNode struct {
	first, second *graphNode
	value         uint64
}

type recordNode struct {
	next  *recordNode
	words [7]uint64
}

// Not inlined, so that the object cannot stay on the stack.
//
//go:noinline
func newPlainObject() *plainObject { return &plainObject{} }

func allocDrop(params) work {
	const batch = 65536
	return work{operations: batch, run: func() uint32 {
		sum := uint32(0)
		for i := uint64(0); i < batch; i++ {
			object := newPlainObject()
			object.words[1] = i
			sum += uint32(object.words[1] + object.words[2])
		}
		return sum
	}}
}

func buildTree(depth int) *treeNode {
	if depth == 0 {
		return &treeNode{}
	}
	left := buildTree(depth - 1)
	right := buildTree(depth - 1)
	return &treeNode{left, right}
}

func countTree(at *treeNode) uint64 {
	if at.left == nil {
		return 1
	}
	return 1 + countTree(at.left) + countTree(at.right)
}

func binaryTrees(p params) work {
	const least = 4
	depth := p.get("depth")
	before := residentBytes()
	nodes := 2<<uint(depth) - 1
	for d := least; d <= depth; d += 2 {
		nodes += 1 << uint(depth-d+least) * (2<<uint(d) - 1)
	}
	return work{operations: nodes, run: func() uint32 {
		sum := uint32(0)
		longLived := buildTree(depth)
		for d := least; d <= depth; d += 2 {
			counted := uint64(0)
			for i := 1 << uint(depth-d+least); i > 0; i-- {
				counted += countTree(buildTree(d))
			}
			sum = fold(sum, counted)
		}
		return fold(sum, countTree(longLived))
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
	}}
}

// linkSet is 64 holders and 64 targets.
type linkSet struct{ holders, targets [64]*linkNode }

func newLinkSet(first uint64) *linkSet {
	s := &linkSet{}
	for i := range s.holders {
		s.targets[i] = &linkNode{value: uint64(i) + first}
		s.holders[i] = &linkNode{next: s.targets[i]}
	}
	return s
}

func fieldStore(params) work {
	const batch, count = 16384, 64
	s := newLinkSet(0)
	return work{operations: batch, run: func() uint32 {
		for i := 0; i < batch; i++ {
			s.holders[i%count].next = s.targets[(i*7+i/count)%count]
		}
		sum := uint32(0)
		for i := 0; i < count; i++ {
			sum = fold(sum, s.holders[i].next.value+uint64(i)*count)
		}
		return sum
	}}
}

func localCopy(params) work {
	const batch, count = 16384, 64
	s := newLinkSet(1)
	return work{operations: batch, run: func() uint32 {
		total := uint64(0)
		for i := 0; i < batch; i++ {
			local := s.holders[i*7%count].next
			total += local.value
		}
		return fold(0, total)
	}}
}

type wideHolder struct {
	next    *linkNode
	padding [15]uint64
}

// parallel calls f(0) to f(n-1), each on a goroutine of its own, and waits for them.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	wg.Add(n)
	for t := 0; t < n; t++ {
		go func(t int) {
			f(t)
			wg.Done()
		}(t)
	}
	wg.Wait()
}

func sameTarget(p params) work {
	const batch = 131072
	threads := p.get("threads")
	target := &linkNode{value: 42}
	sums := make([]uint64, threads)
	return work{operations: batch, run: func() uint32 {
		parallel(threads, func(t int) {
			own := &wideHolder{}
			holders[t] = own // so that it lies in the heap
			sum := uint64(0)
			for i := 0; i < batch; i++ {
				own.next = target
				sum += own.next.value
				own.next = nil
			}
			sums[t] = sum
		})
		total := uint32(0)
		for _, sum := range sums {
			total = fold(total, sum)
		}
		return total
	}}
}

var holders [64]*wideHolder

func graphMutation(p params) work {
	const batch = 16384
	before := residentBytes()
	count := p.get("nodes")
	nodes := make([]*graphNode, count)
	random := newSequence(3)
	made := uint64(0)
	replace := func(slot int) {
		made++
		fresh := &graphNode{value: made}
		if later := count - slot - 1; later > 0 {
			fresh.first = nodes[slot+1+random.below(later)]
			fresh.second = nodes[slot+1+random.below(later)]
		}
		nodes[slot] = fresh
	}
	for i := count; i > 0; i-- {
		replace(i - 1)
	}
	return work{operations: batch, evolves: true, run: func() uint32 {
		sum := uint32(0)
		for i := 0; i < batch; i++ {
			replace(random.below(count))
			at := nodes[random.below(count)]
			if at.first != nil {
				sum = fold(sum, at.first.value)
			}
			if at.second != nil {
				sum = fold(sum, at.second.value)
			}
		}
		return sum
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
	}}
}

//go:noinline
func newLinkNode(value uint64) *linkNode { return &linkNode{value: value} }

func cyclicGarbage(p params) work {
	const batch = 1024
	ring := p.get("ring")
	before := residentBytes()
	made := 0.0
	return work{operations: batch, cold: true, run: func() uint32 {
		sum := uint32(0)
		for i := uint64(0); i < batch; i++ {
			first := newLinkNode(i)
			at := first
			for n := 1; n < ring; n++ {
				next := newLinkNode(i + uint64(n))
				at.next = next
				at = next
			}
			at.next = first
			sum += uint32(at.next.next.value)
		}
		made += batch
		return sum
	}, finish: func(counters map[string]float64) {
		grown := residentBytes() - before
		counters["bytes_per_op"] = grown / made
		counters["rss_bytes"] = grown
	}}
}

func pauseSteady(p params) work {
	const payload, period, batch = 64, 625, 16000
	before := residentBytes()
	count := p.get("live_mb") * (1 << 20) / payload
	live := make([]*recordNode, count)
	random := newSequence(5)
	replace := func(at int, value uint64) {
		fresh := &recordNode{}
		fresh.words[0] = value
		live[at] = fresh
	}
	for i := range live {
		replace(i, uint64(i))
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	cycles := memory.NumGC
	outside := newBystander()
	return work{operations: batch, evolves: true, runLatency: func(l *latencies) uint32 {
		sum := uint32(0)
		start := nowNs()
		for i := int64(0); i < batch; i++ {
			intended := start + i*period
			for nowNs() < intended {
			}
			at := random.below(count)
			sum = fold(sum, live[at].words[0])
			replace(at, uint64(i))
			l.record(nowNs() - intended)
		}
		return sum
	}, finish: func(counters map[string]float64) {
		close(outside.stop)
		outside.done.Wait()
		counters["hiccup_p50"] = float64(outside.late.percentile(0.5))
		counters["hiccup_p99"] = float64(outside.late.percentile(0.99))
		counters["hiccup_max"] = float64(outside.late.max)
		counters["rss_bytes"] = peakResidentBytes() - before
		runtime.ReadMemStats(&memory)
		counters["collections"] = float64(memory.NumGC - cycles)
	}}
}
