package main

import "sync"

func init() {
	cases["sched/fork_join_fib"] = forkJoinFib
	cases["sched/matmul"] = matmul
}

func fib(n int) uint64 {
	if n < 2 {
		return uint64(n)
	}
	var b uint64
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		b = fib(n - 2)
		wg.Done()
	}()
	a := fib(n - 1)
	wg.Wait()
	return a + b
}

func forkJoinFib(p params) work {
	n := p.get("n")
	before, next := 0, 1
	for i := 0; i < n; i++ {
		before, next = next, before+next
	}
	return work{operations: next - 1, run: func() uint32 { return fold(0, fib(n)) }}
}

type matrices struct {
	n       int
	a, b, c []float64
}

const matmulLeaf = 32

func forkBoth(f, g func()) {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		g()
		wg.Done()
	}()
	f()
	wg.Wait()
}

// part is rows [i, i+m) and columns [j, j+n) of c, over [k, k+d) of the inner side.
func (x *matrices) part(i, m, j, n, k, d int) {
	switch {
	case m <= matmulLeaf && n <= matmulLeaf && d <= matmulLeaf:
		for row := i; row < i+m; row++ {
			to := x.c[row*x.n+j : row*x.n+j+n]
			for inner := k; inner < k+d; inner++ {
				factor := x.a[row*x.n+inner]
				from := x.b[inner*x.n+j : inner*x.n+j+n]
				for column := range to {
					to[column] += factor * from[column]
				}
			}
		}
	case m >= n && m >= d:
		h := m / 2
		forkBoth(func() { x.part(i, h, j, n, k, d) }, func() { x.part(i+h, m-h, j, n, k, d) })
	case n >= d:
		h := n / 2
		forkBoth(func() { x.part(i, m, j, h, k, d) }, func() { x.part(i, m, j+h, n-h, k, d) })
	default:
		x.part(i, m, j, n, k, d/2)
		x.part(i, m, j, n, k+d/2, d-d/2)
	}
}

func matmul(p params) work {
	n := p.get("n")
	x := &matrices{n, make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)}
	for i := range x.a {
		x.a[i], x.b[i] = float64(i%7), float64(i%5)
	}
	return work{operations: n * n * n, run: func() uint32 {
		for i := range x.c {
			x.c[i] = 0
		}
		x.part(0, n, 0, n, 0, n)
		sum := uint32(0)
		for _, c := range x.c {
			sum = fold(sum, uint64(c))
		}
		return sum
	}}
}
