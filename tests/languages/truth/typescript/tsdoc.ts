/**
 * Finds it.
 *
 * @remarks
 * Slowly.
 *
 * @typeParam T - what
 * @param x - {@link where | where} to look
 * @returns it, or `undefined`
 * @deprecated use other
 */
export function find<T>(x: T[]): T | undefined { return x[0]; }

/** {@inheritDoc find} */
export function other() { return 1; }
/**
  Without stars
  in it.
*/
export function bare() { return 1; }
