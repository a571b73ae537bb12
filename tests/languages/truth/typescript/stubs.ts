/** Empty. */
function empty(): void {}

/** Throws. */
function throws(): never { throw new NotImplementedError(); }

/** Says so. */
function says(): never { throw new Error("Method not implemented."); }

/** Does throw. */
function error(): never { throw new TypeError("wrong"); }

/** Comment only. */
function comment() { /* nothing */ }

/** An arrow. */
const nothing = () => {};

/** An object. */
const object = () => ({});
