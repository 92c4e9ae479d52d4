// The Go peer: the cases of bench/cases/ that have a meaning in Go, as a program that measures one row per call and prints
// one line of JSON, which the harness reads (bench/harness/fresh.cpp).
//
//	go_peer -area sched -case yield -operations 100000 -warm -p processors=1 ...
//
// What one operation is stands in the head of the case's C++ file. Work, random sequences and checksums are the same, so a
// row whose checksum differs from the other subjects' fails the run.
package main

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// params are the parameters of the row.
type params map[string]int64

func (p params) get(name string) int {
	value, ok := p[name]
	if !ok {
		fail("a case reads the parameter " + name + ", which its row does not have")
	}
	return int(value)
}

func (p params) or(name string, otherwise int) int {
	if value, ok := p[name]; ok {
		return int(value)
	}
	return otherwise
}

// String and Set make params a flag that can be given often.
func (p params) String() string { return "" }
func (p params) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("want name=value")
	}
	n, err := strconv.ParseInt(value, 10, 64)
	p[name] = n
	return err
}

// work is one case: run does one batch of fixed work and returns its checksum.
type work struct {
	operations int
	run        func() uint32
	runLatency func(*latencies) uint32 // instead of run, in latency cases
	afterBatch func(map[string]float64)
	finish     func(map[string]float64)
	evolves    bool
	cold       bool
}

type measurement struct {
	Seconds     float64            `json:"seconds"`
	CPUSeconds  float64            `json:"cpu_seconds"`
	Operations  int                `json:"operations"`
	Checksum    uint32             `json:"checksum"`
	Counters    map[string]float64 `json:"counters"`
	LatenciesNs [][2]int64         `json:"latencies_ns,omitempty"`
	Error       string             `json:"error"`
}

// latencies is a log-linear histogram with 64 buckets per octave, as the harness's.
type latencies struct {
	counts map[int64]int64
	sum    float64
	n      int64
	max    int64
}

func (l *latencies) record(ns int64) {
	if ns < 0 {
		ns = 0
	}
	l.sum += float64(ns)
	l.n++
	if ns > l.max {
		l.max = ns
	}
	if shift := bits.Len64(uint64(ns)) - 7; shift > 0 {
		ns = ns>>uint(shift)<<uint(shift) + int64(1)<<uint(shift)/2
	}
	l.counts[ns]++
}

func (l *latencies) entries() [][2]int64 {
	out := make([][2]int64, 0, len(l.counts))
	for value, count := range l.counts {
		if value > l.max {
			value = l.max
		}
		out = append(out, [2]int64{value, count})
	}
	return out
}

func (l *latencies) percentile(q float64) int64 {
	// Few and small: only the bystander's are asked for here.
	var values []int64
	for value := range l.counts {
		values = append(values, value)
	}
	for i := 1; i < len(values); i++ {
		for j := i; j > 0 && values[j] < values[j-1]; j-- {
			values[j], values[j-1] = values[j-1], values[j]
		}
	}
	seen := 0.0
	for _, value := range values {
		seen += float64(l.counts[value])
		if seen >= q*float64(l.n) {
			return value
		}
	}
	return l.max
}

func (l *latencies) merge(other *latencies) {
	for value, count := range other.counts {
		l.counts[value] += count
	}
	l.sum += other.sum
	l.n += other.n
	if other.max > l.max {
		l.max = other.max
	}
}

func newLatencies() *latencies { return &latencies{counts: map[int64]int64{}} }

var started = time.Now()

// nowNs is a monotonic time.
func nowNs() int64 { return int64(time.Since(started)) }

func cpuSeconds() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return float64(use.Utime.Sec+use.Stime.Sec) + float64(use.Utime.Usec+use.Stime.Usec)*1e-6
}

// statusBytes reads "Key:  123 kB" lines of /proc/self/status.
func statusBytes(keys ...string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	total := 0.0
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		for _, key := range keys {
			if len(fields) >= 2 && fields[0] == key+":" {
				kib, _ := strconv.ParseFloat(fields[1], 64)
				total += kib * 1024
			}
		}
	}
	return total
}

func residentBytes() float64     { return statusBytes("VmRSS", "VmPTE") }
func peakResidentBytes() float64 { return statusBytes("VmHWM", "VmPTE") }

// fold is keep.hpp's.
func fold(sum uint32, value uint64) uint32 {
	value ^= value >> 32
	value *= 0x9E3779B97F4A7C15
	return sum + uint32(value>>32)
}

// sequence is keep.hpp's.
type sequence struct{ state uint64 }

func newSequence(seed uint64) sequence {
	return sequence{seed*0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019}
}

func (s *sequence) next() uint64 {
	s.state ^= s.state >> 12
	s.state ^= s.state << 25
	s.state ^= s.state >> 27
	return s.state * 0x2545F4914F6CDD1D
}

func (s *sequence) below(bound int) int { return int((s.next() >> 32) * uint64(bound) >> 32) }

func fail(why string) {
	print(measurement{Error: why, Counters: map[string]float64{}})
	os.Exit(0)
}

func print(m measurement) {
	line, err := json.Marshal(m)
	if err != nil {
		line = []byte(`{"error":"the measurement is no JSON"}`)
	}
	fmt.Println(string(line))
}

func measure(w work, operations int, warm bool) measurement {
	m := measurement{Counters: map[string]float64{}}
	if w.runLatency != nil {
		l := newLatencies()
		if warm && !w.cold {
			w.runLatency(l)
			l = newLatencies()
		}
		cpu := cpuSeconds()
		for m.Operations < operations {
			checksum := w.runLatency(l)
			if m.Operations == 0 {
				m.Checksum = checksum
			}
			m.Operations += w.operations
		}
		m.CPUSeconds = cpuSeconds() - cpu
		m.Seconds = l.sum / float64(l.n) * 1e-9 * float64(m.Operations)
		m.LatenciesNs = l.entries()
	} else {
		first := true
		check := func(checksum uint32) {
			if first {
				m.Checksum = checksum
			} else if !w.evolves && checksum != m.Checksum {
				fail("checksum differs between two batches of one row")
			}
			first = false
		}
		if warm && !w.cold {
			check(w.run())
		}
		for m.Operations < operations {
			cpu := cpuSeconds()
			begin := nowNs()
			checksum := w.run()
			m.Seconds += float64(nowNs()-begin) * 1e-9
			m.CPUSeconds += cpuSeconds() - cpu
			m.Operations += w.operations
			check(checksum)
			if w.afterBatch != nil {
				w.afterBatch(m.Counters)
			}
		}
	}
	if w.finish != nil {
		w.finish(m.Counters)
	}
	return m
}

func main() {
	p := params{}
	area, name := "", ""
	operations, warm := 1, false
	for i := 1; i < len(os.Args); i++ {
		value := func() string {
			i++
			if i >= len(os.Args) {
				fail("an argument lacks its value")
			}
			return os.Args[i]
		}
		switch os.Args[i] {
		case "-area":
			area = value()
		case "-case":
			name = value()
		case "-operations":
			n, err := strconv.Atoi(value())
			if err != nil || n < 1 {
				fail("-operations wants a number")
			}
			operations = n
		case "-serve":
			serve(value())
		case "-warm":
			warm = true
		case "-p":
			if err := p.Set(value()); err != nil {
				fail(err.Error())
			}
		default:
			fail("unknown argument " + os.Args[i])
		}
	}
	make, known := cases[area+"/"+name]
	if !known {
		fail("skipped: the Go peer has no such case")
	}
	processors := p.or("processors", p.or("threads", 1))
	if name == "wake_latency" {
		processors = 2 // the waking goroutine spins on one of them
	}
	runtime.GOMAXPROCS(processors)
	print(measure(make(p), operations, warm))
}

var cases = map[string]func(params) work{
	"sched/blocking_io":        blockingIO,
	"sched/counter_atomic":     counterAtomic,
	"sched/counter_mutex":      counterMutex,
	"sched/hogs":               hogs,
	"sched/inject_vs_local":    injectVsLocal,
	"sched/select2":            select2,
	"sched/spawn_cold":         spawnCold,
	"sched/spawn_detached":     spawnDetached,
	"sched/timer_fire":         timerFire,
	"sched/timer_wheel":        timerWheel,
	"sched/spawn_join":         spawnJoin,
	"sched/spawn_one":          spawnOne,
	"sched/yield":              yield,
	"sched/ping_pong":          pingPong,
	"sched/pinned":             pinned,
	"sched/dynamic_processors": dynamicProcessors,
	"sched/chan_spsc":          chanSPSC,
	"sched/chan_mpmc":          chanMPMC,
	"sched/mutex_uncontended":  mutexUncontended,
	"sched/mutex_contended":    mutexContended,
	"sched/rw_mutex":           rwMutex,
	"sched/rw_uncontended":     rwUncontended,
	"sched/pool":               pool,
	"sched/pool_burst":         poolBurst,
	"sched/skynet":             skynet,
	"sched/parked_memory":      parkedMemory,
	"sched/wake_latency":       wakeLatency,
	"gc/alloc_drop":            allocDrop,
	"gc/binary_trees":          binaryTrees,
	"gc/field_store":           fieldStore,
	"gc/local_copy":            localCopy,
	"gc/same_target":           sameTarget,
	"gc/graph_mutation":        graphMutation,
	"gc/cyclic_garbage":        cyclicGarbage,
	"gc/pause_steady":          pauseSteady,
	"gc/assist":                timedAllocation,
	"gc/barrier_line":          barrierLine,
	"gc/gcbench":               gcbench,
	"gc/lifetimes":             lifetimes,
	"gc/lru":                   lru,
	"gc/map_churn":             mapChurn,
	"gc/mark_graph":            markGraph,
	"gc/mark_tree":             markTree,
	"gc/memory_limit":          memoryLimit,
	"gc/parked_roots":          parkedRoots,
	"gc/pause_max":             timedAllocation,
	"gc/percent_sweep":         percentSweep,
	"gc/percent_tiers":         percentTiers,
}
