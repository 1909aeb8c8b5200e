// One measurement of a queue that others built, over a Redis server: node peer.js PEER CASE PORT N
//
//   PEER  bullmq | bee-queue
//   CASE  drain: N jobs are queued, then a worker in a process of its own takes them
//         both: a producer and a worker in two processes at once, from before the first enqueue to the last job
//         result: one job after the other, from before the enqueue until its sender has the result (bullmq only)
//
// Prints one line of JSON. Payloads are as long as ours, the handler does nothing, jobs that are done are removed. A worker runs
// 100 jobs at a time, and a call takes 100, as ours does.
'use strict';
const { fork } = require('node:child_process');

const [, , peer, kase, port, count] = process.argv;
const n = Number(count);
const CONCURRENCY = 100;
const BATCH = 100;
const QUEUE = 'bench';
const redis = { host: '127.0.0.1', port: Number(port) };
const version = require(`${peer}/package.json`).version;

const now = () => process.hrtime.bigint();
const seconds = (from, to) => Number(to - from) / 1e9;
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

// A payload of 150 bytes.
function data() {
  const at = Number(now());
  return { at, pad: 'x'.repeat(150 - `{"at":${at},"pad":""}`.length) };
}

const PEERS = {
  bullmq: {
    name: `BullMQ ${version}`,
    about: `worker concurrency ${CONCURRENCY}, addBulk of ${BATCH}, removeOnComplete`,
    async producer() {
      const { Queue } = require('bullmq');
      const defaultJobOptions = { removeOnComplete: true, removeOnFail: true };
      const queue = new Queue(QUEUE, { connection: redis, defaultJobOptions });
      await queue.waitUntilReady();
      const job = () => ({ name: 'work', data: data() });
      return { queue, add: (size) => queue.addBulk(Array.from({ length: size }, job)) };
    },
    async worker(handler) {
      const { Worker } = require('bullmq');
      const connection = { ...redis, maxRetriesPerRequest: null };
      const worker = new Worker(QUEUE, handler, { connection, concurrency: CONCURRENCY });
      worker.on('error', (error) => console.error(error.message));
      await worker.waitUntilReady();
    },
  },
  'bee-queue': {
    name: `bee-queue ${version}`,
    about: `concurrency ${CONCURRENCY}, saveAll of ${BATCH}, removeOnSuccess, no events, no look for stalled jobs`,
    async producer() {
      const Queue = require('bee-queue');
      const settings = { redis, isWorker: false, getEvents: false, sendEvents: false, storeJobs: false };
      const queue = new Queue(QUEUE, { ...settings, removeOnSuccess: true });
      await queue.ready();
      return {
        queue,
        async add(size) {
          const failed = await queue.saveAll(Array.from({ length: size }, () => queue.createJob(data())));
          if (failed.size > 0) throw new Error(`${failed.size} jobs were not saved`);
        },
      };
    },
    async worker(handler) {
      const Queue = require('bee-queue');
      const settings = { redis, getEvents: false, sendEvents: false, storeJobs: false };
      const queue = new Queue(QUEUE, { ...settings, removeOnSuccess: true });
      await queue.ready();
      queue.process(CONCURRENCY, handler);
    },
  },
};

// What the second process does: it says when the first and when the last of n jobs began.
async function work() {
  let begun = 0;
  let first;
  await PEERS[peer].worker(async () => {
    begun += 1;
    first ??= now();
    if (begun === n) process.send({ first: String(first), last: String(now()) });
    return 1;
  });
  process.send({ ready: true });
}

function startWorker() {
  const child = fork(__filename, [peer, 'work', port, count]);
  let ended;
  const done = new Promise((resolve) => { ended = resolve; });
  return new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the worker ended (${code})`)));
    child.on('message', (message) => {
      if (message.ready) resolve({ done, end: () => child.kill() });
      else ended({ first: BigInt(message.first), last: BigInt(message.last) });
    });
  });
}

async function fill(producer) {
  for (let sent = 0; sent < n; sent += BATCH) await producer.add(Math.min(BATCH, n - sent));
}

const CASES = {
  async drain(producer) {
    await fill(producer);
    const worker = await startWorker();
    const { first, last } = await worker.done;
    worker.end();
    return { per_second: n / seconds(first, last) };
  },
  async both(producer) {
    const worker = await startWorker();
    const began = now();
    await fill(producer);
    const { last } = await worker.done;
    worker.end();
    return { per_second: n / seconds(began, last) };
  },
  async result({ queue }) {
    const { QueueEvents } = require('bullmq');
    const worker = await startWorker();
    const events = new QueueEvents(QUEUE, { connection: { ...redis, maxRetriesPerRequest: null } });
    await events.waitUntilReady();
    const took = [];
    for (let sent = 0; sent < n; sent += 1) {
      const began = now();
      const job = await queue.add('work', data(), { removeOnComplete: 100 });
      await job.waitUntilFinished(events);
      took.push(seconds(began, now()) * 1e3);
    }
    worker.end();
    return { millis: median(took) };
  },
};

async function main() {
  if (kase === 'work') return work();
  const figures = await CASES[kase](await PEERS[peer].producer());
  const { name, about } = PEERS[peer];
  console.log(JSON.stringify({ name, about: `${about}, node ${process.version}`, n, ...figures }));
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
