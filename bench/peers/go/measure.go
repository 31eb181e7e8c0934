package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// How long after the end a task may still be in its last cycle. What hangs longer is left behind.
const patience = 10 * time.Second

func cycles(acquire acquire, tasks int, length time.Duration) string {
	began := time.Now()
	all := drive(acquire, tasks, began.Add(length), func(task int) string {
		return fmt.Sprintf("name-%d", task)
	})
	var took []time.Duration
	for _, one := range all {
		took = append(took, one.took...)
	}
	if len(took) == 0 {
		return "unable no task made a cycle"
	}
	slices.Sort(took)
	at := func(percent int) float64 { return took[len(took)*percent/100].Seconds() * 1e6 }
	return fmt.Sprintf("cycles %d %.6f %.1f %.1f", len(took), seconds(began, all), at(50), at(99))
}

func crowd(acquire acquire, tasks int, length time.Duration) string {
	began := time.Now()
	all := drive(acquire, tasks, began.Add(length), func(int) string { return "crowd" })
	var worst time.Duration
	var counts strings.Builder
	for _, one := range all {
		worst = max(worst, one.worst)
		fmt.Fprintf(&counts, " %d", len(one.took))
	}
	return fmt.Sprintf("crowd %.6f %.3f%s", seconds(began, all), worst.Seconds()*1e3, counts.String())
}

// drive starts the tasks together and waits for them, with patience; what it returns stands still.
func drive(acquire acquire, tasks int, end time.Time, name func(int) string) []tally {
	all := make([]task, tasks)
	ends := make(chan struct{}, tasks)
	for i := range all {
		go func() {
			all[i].repeat(acquire, name(i), end)
			ends <- struct{}{}
		}()
	}
	if hanging := await(ends, tasks, end.Add(patience)); hanging > 0 {
		fmt.Fprintf(os.Stderr, "%d of %d tasks hang\n", hanging, tasks)
	}
	tallies := make([]tally, tasks)
	for i := range all {
		tallies[i] = all[i].tally()
	}
	return tallies
}

func await(ends <-chan struct{}, tasks int, latest time.Time) (hanging int) {
	late := time.After(time.Until(latest))
	for hanging = tasks; hanging > 0; hanging-- {
		select {
		case <-ends:
		case <-late:
			return hanging
		}
	}
	return 0
}

// seconds are those up to the last cycle that counts: a task that hangs adds none.
func seconds(began time.Time, all []tally) float64 {
	last := began
	for _, one := range all {
		if last.Before(one.last) {
			last = one.last
		}
	}
	return last.Sub(began).Seconds()
}
