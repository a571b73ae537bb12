#!/usr/bin/env node
/**
 * @fileoverview What the file is.
 */
'use strict';

/**
 * Adds two numbers.
 * @param {number} a first
 * @returns {number} the sum
 */
function add(a, b = 2) {
  return a + b;
}

// An ordinary comment.
function ordinary() {
  return add(1);
}

/** Yields numbers. */
function* numbers() {
  /** Inner. */
  function inner({ a, b }, ...rest) { return a; }
  yield inner;
}

/** Waits. */
async function wait() { await 1; }

/** Does nothing. */
function nothing() {}

/** Not written yet. */
function later() {
  throw new Error('Not implemented');
}
