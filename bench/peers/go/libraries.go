package main

import (
	"context"
	"errors"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

const (
	lease   = 30 * time.Second
	endless = 1 << 62 // more tries, and more nanoseconds, than any wait takes
)

var errNotHeld = errors.New("lock not held")

// acquire waits for the lock of a name for as long as it takes.
type acquire func(name string) (release func() error, err error)

type library struct {
	open   func(url string) (acquire, error)
	module string
	prefix string // of the version, where the module is not the library itself
}

var libraries = map[string]library{
	"redislock":      {open: openRedislock(100 * time.Millisecond), module: "github.com/bsm/redislock"},
	"redislock-10ms": {open: openRedislock(10 * time.Millisecond), module: "github.com/bsm/redislock"},
	"redsync":        {open: openRedsync, module: "github.com/go-redsync/redsync/v4"},
	"rueidislock":    {open: openRueidislock, module: "github.com/redis/rueidis"},
	"go-arbiter":     {open: openArbiter, module: "github.com/redis/go-redis/v9", prefix: "stand-in-on-go-redis-"},
}

func openRedislock(pause time.Duration) func(string) (acquire, error) {
	return func(url string) (acquire, error) {
		client, err := connect(url)
		if err != nil {
			return nil, err
		}
		locker := redislock.New(client)
		options := &redislock.Options{RetryStrategy: redislock.LinearBackoff(pause)}
		return func(name string) (func() error, error) {
			// Without a deadline of ours Obtain gives up after one lease.
			ctx, cancel := context.WithTimeout(context.Background(), endless)
			defer cancel()
			lock, err := locker.Obtain(ctx, name, lease, options)
			return func() error { return lock.Release(context.Background()) }, err
		}, nil
	}
}

func openRedsync(url string) (acquire, error) {
	client, err := connect(url)
	if err != nil {
		return nil, err
	}
	sync := redsync.New(goredis.NewPool(client))
	return func(name string) (func() error, error) {
		mutex := sync.NewMutex(name, redsync.WithExpiry(lease), redsync.WithTries(endless))
		release := func() error {
			held, err := mutex.Unlock()
			if err == nil && !held {
				err = errNotHeld
			}
			return err
		}
		return release, mutex.Lock()
	}, nil
}

func openRueidislock(url string) (acquire, error) {
	client, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption:   client,
		KeyValidity:    lease,
		KeyMajority:    1,
		NoLoopTracking: true,
		// There is no next key; at the default 20 ms a slow reply leaves a task waiting for ever.
		TryNextAfter: lease,
	})
	if err != nil {
		return nil, err
	}
	return func(name string) (func() error, error) {
		_, cancel, err := locker.WithContext(context.Background(), name)
		return func() error { cancel(); return nil }, err
	}, nil
}

func connect(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	return client, client.Ping(context.Background()).Err()
}
