package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

func collections() float64 {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return float64(memory.NumGC)
}

//go:noinline
func newRecordNode(value uint64) *recordNode {
	fresh := &recordNode{}
	fresh.words[0] = value
	return fresh
}

// listNode is an entry of the cache of lru.
type listNode struct {
	next, previous *listNode
	key            uint64
	words          [5]uint64
}

type lruCache struct {
	entries    int
	byKey      map[uint64]*listNode
	head, tail *listNode
	made       uint64
	random     sequence
}

func (c *lruCache) unlink(n *listNode) {
	if n.next != nil {
		n.next.previous = n.previous
	} else {
		c.tail = n.previous
	}
	if n.previous != nil {
		n.previous.next = n.next
	} else {
		c.head = n.next
	}
	n.next = nil
}

func (c *lruCache) pushFront(n *listNode) {
	n.previous = nil
	if c.head != nil {
		c.head.previous = n
	} else {
		c.tail = n
	}
	n.next = c.head
	c.head = n
}

func (c *lruCache) lookUp() uint64 {
	key := uint64(c.random.below(c.random.below(4*c.entries) + 1))
	if hit := c.byKey[key]; hit != nil {
		if hit != c.head {
			c.unlink(hit)
			c.pushFront(hit)
		}
		hit.words[0]++
		return hit.words[0]
	}
	fresh := &listNode{key: key}
	c.made++
	fresh.words[1] = c.made
	if len(c.byKey) == c.entries {
		last := c.tail
		c.unlink(last)
		last.previous = nil
		delete(c.byKey, last.key)
	}
	c.byKey[key] = fresh
	c.pushFront(fresh)
	return 0
}

func lru(p params) work {
	const batch = 16384
	before := residentBytes()
	c := &lruCache{entries: p.get("entries"), byKey: map[uint64]*listNode{}, random: newSequence(7)}
	for i := 0; i < 4*c.entries; i++ {
		c.lookUp()
	}
	return work{operations: batch, evolves: true, run: func() uint32 {
		sum := uint32(0)
		for i := 0; i < batch; i++ {
			sum = fold(sum, c.lookUp())
		}
		return sum
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
	}}
}

func mapChurn(p params) work {
	const batch = 16384
	before := residentBytes()
	keys := 2 * p.get("entries")
	all := map[uint64]*recordNode{}
	made := uint64(0)
	insert := func(key uint64) {
		made++
		all[key] = newRecordNode(made)
	}
	for key := 0; key < keys; key += 2 {
		insert(uint64(key))
	}
	random := newSequence(9)
	return work{operations: batch, evolves: true, run: func() uint32 {
		sum := uint32(0)
		for i := 0; i < batch; i++ {
			key := uint64(random.below(keys))
			if all[key] != nil {
				delete(all, key)
			} else {
				insert(key)
			}
			if other := all[uint64(random.below(keys))]; other != nil {
				sum = fold(sum, other.words[0])
			}
		}
		return sum
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
	}}
}

type benchNode struct {
	left, right *benchNode
	i, j        uint32
}

func topDown(depth int, at *benchNode) {
	at.i = uint32(depth) + 1
	if depth == 0 {
		return
	}
	at.left = &benchNode{}
	at.right = &benchNode{}
	topDown(depth-1, at.left)
	topDown(depth-1, at.right)
}

func bottomUp(depth int) *benchNode {
	if depth == 0 {
		return &benchNode{j: 1}
	}
	left := bottomUp(depth - 1)
	right := bottomUp(depth - 1)
	return &benchNode{left: left, right: right, j: left.j + right.j}
}

//go:noinline
func newBenchNode() *benchNode { return &benchNode{} }

func gcbench(p params) work {
	const least = 4
	depth := p.get("depth")
	before := residentBytes()
	nodesOf := func(d int) int { return 2<<uint(d) - 1 }
	treesOf := func(d int) int { return 2 * nodesOf(depth+2) / nodesOf(d) }
	nodes := nodesOf(depth+2) + nodesOf(depth)
	for d := least; d <= depth; d += 2 {
		nodes += 2 * treesOf(d) * nodesOf(d)
	}
	return work{operations: nodes, run: func() uint32 {
		sum := fold(0, uint64(bottomUp(depth+2).j))
		longLived := newBenchNode()
		topDown(depth, longLived)
		numbers := make([]float64, 8<<uint(depth))
		for i := 0; i < len(numbers)/2; i++ {
			numbers[i] = 1.0 / float64(i+1)
		}
		for d := least; d <= depth; d += 2 {
			made := uint64(0)
			for i := treesOf(d); i > 0; i-- {
				tree := newBenchNode()
				topDown(d, tree)
				made += uint64(tree.i)
			}
			for i := treesOf(d); i > 0; i-- {
				made += uint64(bottomUp(d).j)
			}
			sum = fold(sum, made)
		}
		return fold(sum, uint64(longLived.i)+uint64(numbers[1000%len(numbers)]*1e6))
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
	}}
}

func fullTree(depth int) *treeNode {
	at := &treeNode{}
	if depth > 0 {
		at.left = fullTree(depth - 1)
		at.right = fullTree(depth - 1)
	}
	return at
}

func markTree(p params) work {
	depth := p.get("depth")
	nodes := 2<<uint(depth) - 1
	root := fullTree(depth)
	return work{operations: nodes, run: func() uint32 {
		runtime.GC()
		return fold(0, uint64(nodes))
	}, finish: func(map[string]float64) {
		if countTree(root) != uint64(nodes) {
			fail("the tree is not whole")
		}
	}}
}

//go:noinline
func newGraphNode(value uint64) *graphNode { return &graphNode{value: value} }

func markGraph(p params) work {
	n := p.get("nodes")
	all := make([]*graphNode, n)
	order := make([]uint32, n)
	for i := range all {
		all[i] = newGraphNode(uint64(i))
		order[i] = uint32(i)
	}
	random := newSequence(11)
	for i := n - 1; i > 0; i-- {
		j := random.below(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	for i := range all {
		at := all[order[i]]
		at.first = all[order[(i+1)%n]]
		at.second = all[random.below(n)]
	}
	root := all[order[0]]
	all = nil
	return work{operations: n, run: func() uint32 {
		runtime.GC()
		return fold(0, uint64(n))
	}, finish: func(map[string]float64) {
		seen := 1
		for at := root.first; at != root; at = at.first {
			seen++
		}
		if seen != n {
			fail("the graph is not whole")
		}
	}}
}

func timedAllocation(p params) work {
	const payload, batch = 64, 65536
	threads := p.or("threads", 1)
	before := residentBytes()
	each := p.get("live_mb") * (1 << 20) / payload / threads
	live := make([]*recordNode, each*threads)
	for i := range live {
		live[i] = newRecordNode(uint64(i))
	}
	cycles := collections()
	randoms := make([]sequence, threads)
	for t := range randoms {
		randoms[t] = newSequence(13 + uint64(t))
	}
	one := func(t int, l *latencies) uint32 {
		random := randoms[t]
		sum := uint32(0)
		for i := 0; i < batch/threads; i++ {
			at := t*each + random.below(each)
			sum = fold(sum, live[at].words[0])
			begin := nowNs()
			live[at] = newRecordNode(uint64(i))
			l.record(nowNs() - begin)
		}
		randoms[t] = random
		return sum
	}
	return work{operations: batch / threads * threads, evolves: true, runLatency: func(l *latencies) uint32 {
		if threads == 1 {
			return one(0, l)
		}
		sums := make([]uint32, threads)
		own := make([]*latencies, threads)
		for t := range own {
			own[t] = newLatencies()
		}
		parallel(threads, func(t int) { sums[t] = one(t, own[t]) })
		total := uint32(0)
		for t, sum := range sums {
			total += sum
			l.merge(own[t])
		}
		return total
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
		counters["collections"] = collections() - cycles
	}}
}

func lifetimes(p params) work {
	const batch = 65536
	before := residentBytes()
	n := p.get("live")
	rings := [3][]*recordNode{make([]*recordNode, 64), make([]*recordNode, n/8), make([]*recordNode, n)}
	var next [3]int
	made := uint64(0)
	add := func(kind int) {
		made++
		rings[kind][next[kind]] = newRecordNode(made)
		next[kind]++
		if next[kind] == len(rings[kind]) {
			next[kind] = 0
		}
	}
	for kind := range rings {
		for range rings[kind] {
			add(kind)
		}
	}
	random := newSequence(15)
	return work{operations: batch, evolves: true, run: func() uint32 {
		sum := uint32(0)
		for i := 0; i < batch; i++ {
			dice := random.below(100)
			kind := 2
			if dice < 90 {
				kind = 0
			} else if dice < 99 {
				kind = 1
			}
			sum = fold(sum, rings[kind][next[kind]].words[0])
			add(kind)
		}
		return sum
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
	}}
}

// replacement replaces live objects at random; pace is called when they are there, with what they take.
func replacement(p params, pace func(bytes int64), over func(map[string]float64, float64)) work {
	const payload, batch = 64, 16384
	before := residentBytes()
	count := p.get("live_mb") * (1 << 20) / payload
	live := make([]*recordNode, count)
	made := uint64(0)
	replace := func(at int) {
		made++
		live[at] = newRecordNode(made)
	}
	for i := range live {
		replace(i)
	}
	pace(int64(count) * (payload + 8))
	runtime.GC()
	cycles := collections()
	random := newSequence(17)
	return work{operations: batch, evolves: true, run: func() uint32 {
		sum := uint32(0)
		for i := 0; i < batch; i++ {
			at := random.below(count)
			sum = fold(sum, live[at].words[0])
			replace(at)
		}
		return sum
	}, finish: func(counters map[string]float64) {
		peak := peakResidentBytes() - before
		counters["rss_bytes"] = peak
		counters["collections"] = collections() - cycles
		over(counters, peak)
	}}
}

func percentSweep(p params) work {
	return replacement(p, func(int64) { debug.SetGCPercent(p.get("percent")) }, func(map[string]float64, float64) {})
}

func percentTiers(p params) work {
	const payload, period, spellNs = 64, 625, 10000000
	type load struct{ share, percent int }
	loads := []load{{4, 100}, {2, 50}, {1, 20}, {2, 50}}
	switches := p.get("tiers") != 0
	before := residentBytes()
	count := p.get("live_mb") * (1 << 20) / payload
	live := make([]*recordNode, count)
	filled := 0
	for ; filled < count/4; filled++ {
		live[filled] = newRecordNode(uint64(filled))
	}
	debug.SetGCPercent(100)
	runtime.GC()
	cycles := collections()
	random := newSequence(19)
	serve := func(now load, l *latencies) uint32 {
		most := count / now.share
		for filled > most {
			filled--
			live[filled] = nil
		}
		spell := spellNs / period / now.share
		sum := uint32(0)
		start := nowNs()
		if switches {
			debug.SetGCPercent(now.percent)
		}
		for i := 0; i < 2*most; i++ {
			if i != 0 && i%spell == 0 {
				start = nowNs()
			}
			intended := start + int64(i%spell*now.share)*period
			for nowNs() < intended {
			}
			at := filled
			if at < most {
				filled++
			} else {
				at = random.below(most)
				sum = fold(sum, live[at].words[0])
			}
			live[at] = newRecordNode(uint64(i))
			l.record(nowNs() - intended)
		}
		return sum
	}
	operations := 0
	for _, each := range loads {
		operations += 2 * (count / each.share)
	}
	return work{operations: operations, evolves: true, cold: true, runLatency: func(l *latencies) uint32 {
		sum := uint32(0)
		for _, now := range loads {
			sum += serve(now, l)
		}
		return sum
	}, finish: func(counters map[string]float64) {
		counters["rss_bytes"] = peakResidentBytes() - before
		counters["collections"] = collections() - cycles
	}}
}

func memoryLimit(p params) work {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	limit := 0.0
	return replacement(p, func(bytes int64) {
		limit = float64(bytes * int64(p.get("limit_percent")) / 100)
		debug.SetMemoryLimit(int64(limit) + int64(memory.Sys))
	}, func(counters map[string]float64, peak float64) {
		counters["over_limit"] = peak / limit
	})
}

func parkedRoots(p params) work {
	count := p.get("fibers")
	gate := make(chan int)
	sums := make([]uint64, count)
	var arrived, ended sync.WaitGroup
	arrived.Add(count)
	ended.Add(count)
	for i := 0; i < count; i++ {
		go func(i int) {
			own := newLinkNode(uint64(i))
			arrived.Done()
			<-gate
			sums[i] = own.value
			ended.Done()
		}(i)
	}
	arrived.Wait()
	for i := 0; i < 16; i++ {
		runtime.Gosched()
	}
	return work{operations: count, run: func() uint32 {
		runtime.GC()
		return fold(0, uint64(count))
	}, finish: func(map[string]float64) {
		close(gate)
		ended.Wait()
		for i, sum := range sums {
			if sum != uint64(i) {
				fail("an object is not what it was")
			}
		}
	}}
}

func barrierLine(p params) work {
	const batch, count = 131072, 64
	threads := p.get("threads")
	marking := p.get("marking") != 0
	own := make([]*linkNode, threads*2*count)
	for i := range own {
		own[i] = newLinkNode(uint64(i))
	}
	var ballast []*linkNode
	var stopping atomic.Bool
	var ended sync.WaitGroup
	if marking {
		ballast = make([]*linkNode, 1<<20)
		for i := range ballast {
			ballast[i] = newLinkNode(0)
		}
		runtime.GOMAXPROCS(threads + 1)
		ended.Add(1)
		go func() {
			for !stopping.Load() {
				runtime.GC()
			}
			ended.Done()
		}()
	}
	sums := make([]uint64, threads)
	one := func(t int) {
		sources := own[2*t*count : (2*t+1)*count]
		targets := own[(2*t+1)*count : (2*t+2)*count]
		for i := 0; i < batch; i++ {
			sources[i%count].next = targets[(i*7+i/count)%count]
		}
		sum := uint64(0)
		for i, holder := range sources {
			sum += holder.next.value * uint64(i+1)
		}
		sums[t] = sum
	}
	return work{operations: batch, run: func() uint32 {
		if threads == 1 {
			one(0)
		} else {
			parallel(threads, one)
		}
		total := uint32(0)
		for _, sum := range sums {
			total = fold(total, sum)
		}
		return total
	}, finish: func(map[string]float64) {
		stopping.Store(true)
		ended.Wait()
		runtime.KeepAlive(ballast)
	}}
}
