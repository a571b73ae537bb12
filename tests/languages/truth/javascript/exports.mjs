/** Named. */
export function named() { return 1; }

/** Default without a name. */
export default function () { return 1; }

/** A constant. */
export const constant = () => 1;

/** Asynchronous. */
export async function wait() { await 1; }

/** Elsewhere. */
export { named as other } from './other.mjs';
