/** Of nothing: a statement follows. */
start();

/** Two lines above. */

function far() { return 1; }

/** Before a directive. */
// eslint-disable-next-line no-unused-vars
function directive() { return 1; }

/***
 * Three stars.
 */
function stars() { return 1; }

/* One star. */
function star() { return 1; }

let a = 1; /** Of the line before. */
function trailing() { return 1; }

/** First. */
/** Second. */
function second() { return 1; }

call(/** Argument. */ function () { return 1; });

if (a) {
  /** In a block. */
  function block() { return 1; }
}

/** @typedef {Object} Options */

/** After a type. */
function afterType() { return 1; }

/** @license MIT */
function licence() { return 1; }

(function () {
  /** In a closure. */
  var closure = function () { return 1; };
})();

/** A label. */
label: for (;;) { break label; }
