/** A cast, which TSX would read as an element. */
export function cast(x: unknown) { return <string>x; }
