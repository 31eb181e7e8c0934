package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	tryScript = `
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`

	unlockScript = `
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])`

	refreshScript = `
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`

	pollPause = 100 * time.Millisecond
)

// An arbiterLock does on the wire what the Go library of that name does, with its watchdog on.
type arbiterLock struct {
	client  *redis.Client
	keys    []string
	owner   string
	dismiss context.CancelFunc
}

func openArbiter(url string) (acquire, error) {
	client, err := connect(url)
	if err != nil {
		return nil, err
	}
	return func(name string) (func() error, error) {
		lock := newArbiterLock(client, name)
		return lock.unlock, lock.lock()
	}, nil
}

func newArbiterLock(client *redis.Client, name string) *arbiterLock {
	owner := make([]byte, 16)
	rand.Read(owner)
	return &arbiterLock{
		client: client,
		keys:   []string{"arbiter:" + name},
		owner:  base64.StdEncoding.EncodeToString(owner),
	}
}

func (l *arbiterLock) lock() error {
	for {
		held, err := l.eval(tryScript, l.owner, lease.Milliseconds())
		if err != nil {
			return err
		}
		if held {
			break
		}
		time.Sleep(pollPause)
	}
	ctx, dismiss := context.WithCancel(context.Background())
	l.dismiss = dismiss
	go l.watch(ctx)
	return nil
}

func (l *arbiterLock) unlock() error {
	l.dismiss()
	held, err := l.eval(unlockScript, l.owner)
	if err == nil && !held {
		err = errNotHeld
	}
	return err
}

func (l *arbiterLock) watch(ctx context.Context) {
	ticks := time.NewTicker(lease / 3)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			if held, err := l.eval(refreshScript, l.owner, lease.Milliseconds()); err != nil || !held {
				return
			}
		}
	}
}

func (l *arbiterLock) eval(script string, args ...any) (bool, error) {
	return l.client.Eval(context.Background(), script, l.keys, args...).Bool()
}
