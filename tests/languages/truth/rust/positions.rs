#![allow(dead_code)]
/// Below an inner attribute.
fn below() -> u8 { 1 }

let_it!(); /// Of the line above.
fn trailing() -> u8 { 1 }

/// Above an ordinary comment.
// Ordinary.
fn above() -> u8 { 1 }

/// Above a block comment.
/* Ordinary. */
#[inline] // why
fn block() -> u8 { 1 }

#[cfg(test)]
mod tests {
    use super::*;

    /// A test.
    #[test]
    #[should_panic(expected = "a ] b")]
    fn test() { assert_eq!(below(), 2); }
}

struct S {
    /// Of a field.
    f: fn(u8) -> u8,
}

/// Of a statement.
thread_local! { static X: u8 = 1; }

fn outer() -> u8 {
    /// Of an inner struct.
    struct Inner { a: u8 }
    1
}
