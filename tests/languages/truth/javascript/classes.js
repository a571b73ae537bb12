/** A base. */
export default class Base {
  /** A field. */
  count = 0;

  /** A private field with a function. */
  #handle = (event) => {
    this.count += 1;
  };

  /** Makes one. */
  constructor(name) {
    this.name = name;
  }

  /** A static one. */
  static create() { return new Base(); }

  /** Reads it. */
  get size() { return 1; }

  /** Writes it. */
  set size(value) { this.value = value; }

  /** Private. */
  #secret() { return 1; }

  /** A block. */
  static { Base.x = 1; }
}

/** Decorated. */
@component('x-y', { template: `
  <a/>
` })
export class Decorated extends Base {
  /** A decorated method. */
  @bound
  @logged({ level: 1 })
  method() {
    return 1;
  }

  @bound
  /** Between. */
  between() { return 1; }
}

/** Decorated after export. */
export @component class After { go() { return 1; } }
