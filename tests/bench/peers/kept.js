'use strict';
// kept CHILD REQUEST-FILE TURNS [echo]: a Node.js shim that keeps one process for all invocations, and how long one takes.
//
// In the manner of Apex's shim for Go, and of lambda_proc before it, whose lines have no id: the program is started once, gets a line
// {"id", "event", "context"} for each invocation, and answers with a line {"id", "value"} or {"id", "error"}. Written for this bench, from
// that description. Like them it has no deadline, and ends when its child does.

const { spawn } = require('node:child_process');

const callbacks = new Map(); // by id
let lastId = 0;
let rest = ''; // what came of a line that is not yet whole

const child = spawn(process.argv[2], { stdio: ['pipe', 'pipe', process.stderr] });

const giveUp = (what) => (...why) => {
  console.error(what, ...why);
  process.exit(1); // Lambda then makes a new environment, with a new child.
};
child.on('error', giveUp('the child could not be started:'));
child.on('exit', giveUp('the child ended; its exit code and signal:'));

child.stdout.setEncoding('utf8');
child.stdout.on('data', (chunk) => {
  const lines = chunk.split('\n');
  lines[0] = rest + lines[0];
  rest = lines.pop();
  lines.forEach(answered);
});

function answered(line) {
  let message;
  try {
    message = JSON.parse(line);
  } catch {} // What the program prints besides goes to the log, below.
  const callback = callbacks.get(message?.id);
  if (!callback) {
    console.error('not an answer:', line);
    return;
  }
  callbacks.delete(message.id);
  callback(message.error, message.value);
}

exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false; // Otherwise Lambda would wait for the child's end.
  const id = String(++lastId);
  callbacks.set(id, callback);
  child.stdin.write(`${JSON.stringify({ id, event, context })}\n`);
};

// From here on it is the bench: as in spawning.js, what Lambda's runtime would do, one invocation after the other, with a clock.

const { deepStrictEqual } = require('node:assert');

async function turn(event, context, expected) {
  let ended;
  const late = setTimeout(giveUp('no answer within 10 seconds'), 10_000); // A wrong id leaves its invocation open for ever.
  const began = process.hrtime.bigint();
  const value = await new Promise((resolve, reject) => {
    exports.handler(event, context, (error, result) => {
      ended = process.hrtime.bigint();
      if (error) reject(error);
      else resolve(result);
    });
  });
  clearTimeout(late);
  deepStrictEqual(value, expected);
  return Number(ended - began);
}

(async (file, turns, echo) => {
  const { event, context } = JSON.parse(require('node:fs').readFileSync(file, 'utf8'));
  const expected = echo ? event : { statusCode: 200, body: 'ok' };
  const taken = [];
  const first = echo ? -5 : -200; // so many warm up
  for (let count = first; count < turns; count++) taken[Math.max(count, 0)] = await turn(event, context, expected);
  taken.sort((left, right) => left - right);
  console.log(Math.floor((taken[(turns - 1) >> 1] + taken[turns >> 1]) / 2));
  process.exit(); // The child keeps the event loop alive; it ends at the end of its input.
})(process.argv[3], Number(process.argv[4]), process.argv[5] === 'echo'); // A wrong result is a rejection that nobody handles, exit code 1.
