"""The locks of redis-py for the bench: ../README.md says what is heard and said."""

import asyncio
import os
import queue
import sys
import threading
import time
from importlib.metadata import version

import redis
import redis.asyncio

LEASE = 30
# Of the pool: a connection for every task, since beyond this a command fails.
CONNECTIONS = 1024

now = time.monotonic_ns


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def fail(error):
    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def say_cycles(seconds, tasks):
    times = sorted(cycle for cycles, _ in tasks for cycle in cycles)
    p50, p99 = (f"{times[int(len(times) * part)] / 1e3:.1f}" for part in (0.5, 0.99))
    say("cycles", len(times), f"{seconds:.6f}", p50, p99)


def say_crowd(seconds, tasks):
    worst = max(worst for _, worst in tasks) / 1e6
    say("crowd", f"{seconds:.6f}", f"{worst:.3f}", *(len(cycles) for cycles, _ in tasks))


class Threads:
    """A thread for every task and worker."""

    def __init__(self, url):
        self.client = redis.Redis.from_url(url, max_connections=CONNECTIONS)
        self.client.ping()
        self.workers = {}

    def run(self):
        threading.excepthook = lambda failed: fail(failed.exc_value)
        say("ready", "redis-py", version("redis"))
        for line in sys.stdin:
            obey(self, line)
        os._exit(0)

    def lock(self, name):
        return self.client.lock(name, timeout=LEASE)

    def measure(self, names, ms, report):
        self.start(self.together, names, ms, report)

    def acquire(self, number, name):
        if number not in self.workers:
            self.workers[number] = queue.SimpleQueue()
            self.start(self.work, number, self.workers[number])
        self.workers[number].put(name)

    def release(self, number):
        self.workers[number].put(None)

    def start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        return thread

    def together(self, names, ms, report):
        tasks = []
        begun = now()
        until = begun + ms * 1_000_000
        threads = [self.start(self.turns, name, until, tasks) for name in names]
        for thread in threads:
            thread.join()
        report((now() - begun) / 1e9, tasks)

    def turns(self, name, until, tasks):
        lock, times, worst = self.lock(name), [], 0
        while (begun := now()) < until:
            lock.acquire()
            worst = max(worst, now() - begun)
            lock.release()
            times.append(now() - begun)
        tasks.append((times, worst))

    def work(self, number, orders):
        while True:
            lock = self.lock(orders.get())
            lock.acquire()
            say("acquired", number, now())
            orders.get()
            released = now()
            lock.release()
            say("released", number, released)


class Tasks:
    """A task of asyncio for every task and worker."""

    def __init__(self, url):
        self.client = redis.asyncio.Redis.from_url(url, max_connections=CONNECTIONS)
        self.workers = {}
        self.running = set()

    def run(self):
        asyncio.run(self.listen())

    async def listen(self):
        await self.client.ping()
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        say("ready", "redis-py-asyncio", version("redis"))
        while line := await lines.readline():
            obey(self, line.decode())
        os._exit(0)

    def lock(self, name):
        return self.client.lock(name, timeout=LEASE)

    def measure(self, names, ms, report):
        self.start(self.together(names, ms, report))

    def acquire(self, number, name):
        if number not in self.workers:
            self.workers[number] = asyncio.Queue()
            self.start(self.work(number, self.workers[number]))
        self.workers[number].put_nowait(name)

    def release(self, number):
        self.workers[number].put_nowait(None)

    def start(self, work):
        task = asyncio.create_task(work)
        self.running.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.running.discard(task)
        if not task.cancelled() and task.exception():
            fail(task.exception())

    async def together(self, names, ms, report):
        begun = now()
        until = begun + ms * 1_000_000
        tasks = await asyncio.gather(*(self.turns(name, until) for name in names))
        report((now() - begun) / 1e9, tasks)

    async def turns(self, name, until):
        lock, times, worst = self.lock(name), [], 0
        while (begun := now()) < until:
            await lock.acquire()
            worst = max(worst, now() - begun)
            await lock.release()
            times.append(now() - begun)
        return times, worst

    async def work(self, number, orders):
        while True:
            lock = self.lock(await orders.get())
            await lock.acquire()
            say("acquired", number, now())
            await orders.get()
            released = now()
            await lock.release()
            say("released", number, released)


LIBRARIES = {"redis-py": Threads, "redis-py-asyncio": Tasks}


def obey(peer, line):
    match line.split():
        case ["cycles", count, ms]:
            peer.measure([f"name-{task}" for task in range(int(count))], int(ms), say_cycles)
        case ["crowd", count, ms]:
            peer.measure(["crowd"] * int(count), int(ms), say_crowd)
        case ["acquire", worker, name]:
            peer.acquire(worker, name)
        case ["release", worker]:
            peer.release(worker)
        case _:
            raise ValueError(f"not understood: {line!r}")


def main():
    try:
        _, library, url = sys.argv
        peer = LIBRARIES[library]
    except (ValueError, KeyError):
        sys.exit(f"usage: peer.py {'|'.join(LIBRARIES)} REDIS_URL")
    try:
        peer(url).run()
    except Exception as error:
        fail(error)


main()
