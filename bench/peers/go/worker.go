package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A worker holds one lock at a time. An order waits in its channel while the worker is in a call,
// so that the lines of others go on.
type worker struct {
	names chan string
	frees chan struct{}
}

type workers map[int]*worker

func (w workers) get(number int, acquire acquire) *worker {
	if w[number] == nil {
		w[number] = &worker{names: make(chan string, 1), frees: make(chan struct{}, 1)}
		go w[number].work(number, acquire)
	}
	return w[number]
}

func (w *worker) work(number int, acquire acquire) {
	for name := range w.names {
		release, err := acquire(name)
		at := monotonic()
		if err != nil {
			fail(err)
		}
		fmt.Printf("acquired %d %d\n", number, at)

		<-w.frees
		at = monotonic()
		if err := release(); err != nil {
			fail(err)
		}
		fmt.Printf("released %d %d\n", number, at)
	}
}

func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		fail(err)
	}
	return now.Nano()
}
