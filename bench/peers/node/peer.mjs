// The locks of redlock and redis-semaphore for the bench: ../README.md says what is heard and said.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { Mutex } from "redis-semaphore";
import Redlock, { ResourceLockedError } from "redlock";

const LEASE_MS = 30_000;

/** What runs a routine under the lock of a name, by library. */
const libraries = {
  redlock(redis) {
    const redlock = new Redlock([redis]);
    redlock.on("error", (error) => {
      if (!(error instanceof ResourceLockedError)) fail(error);
    });
    return (name, routine) => redlock.using([name], LEASE_MS, { retryCount: -1 }, routine);
  },
  "redis-semaphore": (redis) => async (name, routine) => {
    const mutex = new Mutex(redis, name, { lockTimeout: LEASE_MS, acquireTimeout: Infinity });
    await mutex.acquire();
    await routine();
    await mutex.release();
  },
};

const now = process.hrtime.bigint;
const nanos = (from, to) => Number(to - from);
const say = (...words) => process.stdout.write(`${words.join(" ")}\n`);

function fail(error) {
  console.error(String(error));
  process.exit(1);
}

function version(library) {
  const manifest = new URL(`node_modules/${library}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(manifest, "utf8")).version.replace(/^v/, "");
}

/** Takes and frees the lock until then: the nanoseconds of every cycle, and of the worst acquire. */
async function turns(hold, name, until) {
  const times = [];
  let worst = 0;
  for (let begun = now(); begun < until; begun = now()) {
    await hold(name, async () => {
      worst = Math.max(worst, nanos(begun, now()));
    });
    times.push(nanos(begun, now()));
  }
  return { times, worst };
}

async function together(hold, names, ms) {
  const begun = now();
  const until = begun + BigInt(ms) * 1_000_000n;
  const tasks = await Promise.all(names.map((name) => turns(hold, name, until)));
  return { seconds: (nanos(begun, now()) / 1e9).toFixed(6), tasks };
}

async function cycles(hold, count, ms) {
  const names = Array.from({ length: count }, (_, task) => `name-${task}`);
  const { seconds, tasks } = await together(hold, names, ms);
  const times = Float64Array.from(tasks.flatMap((task) => task.times)).sort();
  const micros = (part) => (times[Math.floor(times.length * part)] / 1e3).toFixed(1);
  say("cycles", times.length, seconds, micros(0.5), micros(0.99));
}

async function crowd(hold, count, ms) {
  const { seconds, tasks } = await together(hold, Array(count).fill("crowd"), ms);
  const worst = Math.max(...tasks.map((task) => task.worst)) / 1e6;
  say("crowd", seconds, worst.toFixed(3), ...tasks.map((task) => task.times.length));
}

/** A worker holds one lock after another, each until it is told to release it. */
class Worker {
  #idle = Promise.resolve();
  #release;

  constructor(number, hold) {
    this.number = number;
    this.hold = hold;
  }

  acquire(name) {
    const told = new Promise((resolve) => (this.#release = resolve));
    this.#idle = this.#idle.then(() => this.#work(name, told));
  }

  release() {
    this.#release();
  }

  async #work(name, told) {
    let released;
    await this.hold(name, async () => {
      say("acquired", this.number, now());
      await told;
      released = now();
    });
    say("released", this.number, released);
  }
}

const [library, url] = process.argv.slice(2);
if (!Object.hasOwn(libraries, library ?? "") || !url) {
  fail(`usage: peer.mjs ${Object.keys(libraries).join("|")} REDIS_URL`);
}
const redis = new Redis(url, { enableAutoPipelining: true });
redis.on("error", fail);
await redis.ping();
const hold = libraries[library](redis);
const workers = new Map();

function worker(number) {
  if (!workers.has(number)) workers.set(number, new Worker(number, hold));
  return workers.get(number);
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [word, first, second] = line.split(" ");
    if (word === "cycles") cycles(hold, Number(first), second);
    else if (word === "crowd") crowd(hold, Number(first), second);
    else if (word === "acquire") worker(first).acquire(second);
    else if (word === "release") worker(first).release();
    else fail(`not understood: ${line}`);
  })
  .on("close", () => process.exit());
say("ready", library, version(library));
