package main

import (
	"sync"
	"time"
)

// A task takes and frees one name again and again. Its tally can be read while it hangs.
type task struct {
	mu  sync.Mutex
	now tally
}

type tally struct {
	asked time.Time // zero while it does not wait
	last  time.Time
	worst time.Duration
	took  []time.Duration
}

func (t *task) repeat(acquire acquire, name string, end time.Time) {
	for asked := time.Now(); asked.Before(end); asked = time.Now() {
		t.asks(asked)
		release, err := acquire(name)
		if err != nil {
			fail(err)
		}
		t.gets()
		if err := release(); err != nil {
			fail(err)
		}
		t.ends(asked)
	}
}

func (t *task) asks(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.asked = at
}

func (t *task) gets() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.worst = max(t.now.worst, time.Since(t.now.asked))
	t.now.asked = time.Time{}
}

func (t *task) ends(asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.last = time.Now()
	t.now.took = append(t.now.took, t.now.last.Sub(asked))
}

// tally counts a wait that has not ended as long as it is by now.
func (t *task) tally() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now
	if !now.asked.IsZero() {
		now.worst = max(now.worst, time.Since(now.asked))
	}
	return now
}
