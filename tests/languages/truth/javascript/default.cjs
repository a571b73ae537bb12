/** A default arrow. */
export default (a, b) => a + b;
