class Literals {
  /** Templates keep their lines. */
  template() {
    const s = `
    a ${this.b(`
  nested`)} /** no */
  c`;
    return s;
  }

    /** Regular expressions. */
    regex() {
        return /\/\*\* no *\/ '`/.test("`");
    }
}
