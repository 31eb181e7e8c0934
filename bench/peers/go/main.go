// Peer drives one of the Go libraries by lines, as the README of the peers lays down.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fail(errors.New("usage: peer LIBRARY REDIS_URL"))
	}
	library, known := libraries[os.Args[1]]
	if !known {
		fail(fmt.Errorf("no library is called %q", os.Args[1]))
	}
	acquire, err := library.open(os.Args[2])
	if err != nil {
		fail(err)
	}
	fmt.Printf("ready %s %s%s\n", os.Args[1], library.prefix, version(library.module))

	workers := make(workers)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		obey(lines.Text(), acquire, workers)
	}
}

func obey(line string, acquire acquire, workers workers) {
	var tasks, milliseconds, worker int
	var name string
	switch {
	case reads(line, "cycles %d %d", &tasks, &milliseconds):
		fmt.Println(cycles(acquire, tasks, time.Duration(milliseconds)*time.Millisecond))
	case reads(line, "crowd %d %d", &tasks, &milliseconds):
		fmt.Println(crowd(acquire, tasks, time.Duration(milliseconds)*time.Millisecond))
	case reads(line, "acquire %d %s", &worker, &name):
		workers.get(worker, acquire).names <- name
	case reads(line, "release %d", &worker):
		workers.get(worker, acquire).frees <- struct{}{}
	default:
		fail(fmt.Errorf("not a line of the protocol: %q", line))
	}
}

func reads(line, format string, into ...any) bool {
	_, err := fmt.Sscanf(line, format, into...)
	return err == nil
}

func version(module string) string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range build.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return "unknown"
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
