/** An interface. */
export interface Options<T = {}> extends Base {
  /** A property. */
  name: string;
  /** A method. */
  run(a: T): void;
  /** Callable. */
  (x: number): string;
}

/** An alias. */
export type Either<A, B> =
  | { left: A }
  | { right: B };

/** Colours. */
export const enum Colour { Red, Green }

/** Only declared. */
declare class Declared {
  /** A method. */
  go(): void;
}

/** A global. */
declare const VERSION: string;

/** Conditional. */
type Name<T> = T extends string ? `name-${T}` : never;

/** Empty. */
interface Nothing {}
