/** A namespace. */
namespace Outer.Inner {
  /** In a namespace. */
  export function inside(): number { return 1; }

  /** A class in it. */
  export class Deep {
    /** And its method. */
    method() { return 1; }
  }
}

declare module "other" {
  /** Ambient. */
  export function ambient(): void;
}

/** Exported as a whole. */
export namespace Exported {
  /** Again. */
  const again = () => 1;
}
