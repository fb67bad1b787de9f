'use strict';
// spawning CHILD REQUEST-FILE TURNS: a Node.js shim that starts the executable anew for every invocation, and how long one takes.
//
// In the manner of what blog posts about Haskell, Rust, Go and Racket on Lambda show, from before there were custom runtimes: an index.js
// that spawns the program, writes event and context to its standard input, and parses its standard output when it has ended. Written for
// this bench, from that description. Like them it has no deadline, no limit to the output, and no care for what the program leaves behind.

const { spawn } = require('node:child_process');

const CHILD = process.argv[2];

exports.handler = (event, context, callback) => {
  const child = spawn(CHILD);
  const chunks = [];
  child.stdout.on('data', (chunk) => chunks.push(chunk));
  child.stderr.on('data', (chunk) => process.stderr.write(chunk));
  child.stdin.on('error', () => {}); // A program that does not read its input is none of our business: its exit code tells.
  child.on('error', callback);
  child.on('close', (code, signal) => {
    if (code !== 0) {
      callback(new Error(`${CHILD} ended with ${signal ?? `exit code ${code}`}`));
      return;
    }
    let value;
    try {
      value = JSON.parse(Buffer.concat(chunks));
    } catch (error) {
      callback(error);
      return;
    }
    callback(null, value);
  });
  child.stdin.write(`${JSON.stringify({ event, context })}\n`);
  child.stdin.end();
};

// From here on it is the bench: what Lambda's runtime would do, one invocation after the other, with a clock.

const { deepStrictEqual } = require('node:assert');

// Nanoseconds from the handler's call to its callback. The result is looked at after the clock has stopped.
async function turn(event, context) {
  let ended;
  const began = process.hrtime.bigint();
  const value = await new Promise((resolve, reject) => {
    exports.handler(event, context, (error, result) => {
      ended = process.hrtime.bigint();
      if (error) reject(error);
      else resolve(result);
    });
  });
  deepStrictEqual(value, { statusCode: 200, body: 'ok' });
  return Number(ended - began);
}

(async (file, turns) => {
  // The handler gets objects, as on Lambda, where the runtime has parsed the event: that is outside of the clock for every contender.
  const { event, context } = JSON.parse(require('node:fs').readFileSync(file, 'utf8'));
  const taken = [];
  for (let count = -20; count < turns; count++) taken[Math.max(count, 0)] = await turn(event, context); // the first 20 warm up
  taken.sort((left, right) => left - right);
  console.log(Math.floor((taken[(turns - 1) >> 1] + taken[turns >> 1]) / 2));
})(process.argv[3], Number(process.argv[4])); // A wrong result is a rejection that nobody handles, exit code 1.
