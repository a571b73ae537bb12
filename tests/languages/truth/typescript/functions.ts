/** Adds. */
export function add<T extends number>(a: T, b?: number): number {
  return a + (b ?? 1);
}

/** An overload. */
export function over(a: string): string;
/** Another one. */
export function over(a: number): number;
/** The implementation. */
export function over(a: any): any {
  return a;
}

/** Arrow. */
export const arrow = async <T,>(a: T): Promise<void> => {
  await a;
};

/** A guard. */
function isString(x: unknown): x is string { return typeof x === "string"; }

/** Asserts. */
export default async function assertIt(this: Foo, x?: any): Promise<void> { await x; }

/** Declared elsewhere. */
declare function elsewhere(x: number): string;

/** Destructures. */
const pick = function ({ a, b }: Options = {}): [a: number, b: string] { return [a, b]; };
