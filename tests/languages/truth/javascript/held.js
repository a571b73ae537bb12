/** Arrow with a body. */
const arrow = async (a, b) => {
  return a;
};

/** Arrow of an expression. */
let short = x => x + 1;

/** Old style. */
var old = function named(a) { return a; };

/** Several at once. */
const one = () => 1, two = () => 2;

/** No function. */
const number = 1;

/** Exported by assignment. */
exports.handler = function (event) { return event; };

/** Of a prototype. */
Thing.prototype.run = function run() {
  return 1;
}

/** Of the module. */
module.exports = class Thing { go() { return 1; } };

const object = {
  /** A property. */
  property: function (a) { return a; },

  /** An arrow property. */
  'quoted-name': (a) => a,

  /** A shorthand. */
  shorthand(a) { return a; },

  /** Computed. */
  async *[Symbol.iterator]() { yield 1; },

  /** A value. */
  value: 3,

  nested: {
    /** Deep. */
    get deep() { return 1; },
  },
};

/** A class in a variable. */
const Klass = class extends Base { go() { return 1; } };

/** Wrapped in a call. */
const wrapped = memoize(function (a) { return a; });
