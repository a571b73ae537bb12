//! Of the crate.

use std::fmt;

/// Adds two numbers.
///
/// # Examples
///
/// ```
/// assert_eq!(add(1, 2), 3);
/// ```
#[inline]
pub fn add<'a, T: Into<i32>>(a: &'a T, b: i32) -> i32
where
    T: Copy,
{
    (*a).into() + b
}

// Ordinary.
fn ordinary() { add(&1, 2); }

//// Four slashes.
fn four() { add(&1, 2); }

/** A block. */
async unsafe fn block() { add(&1, 2); }

/*** Three stars. */
fn stars() { add(&1, 2); }

/// First part.
#[cfg(feature = "x")]
/// Second part.
#[must_use = "because"]
pub(crate) const fn parts() -> u8 { 1 }

fn inner_doc() -> u8 {
    //! Documented within.
    //! On two lines.
    1
}

/// Not written.
fn todo_it() { todo!() }

/// Not implemented.
fn unimplemented_it() -> ! {
    unimplemented!("later {}", 1)
}

/// Empty.
fn empty() {}

/// A macro.
macro_rules! mac { () => {}; }

/// Far above.

/// And near.
fn far() { add(&1, 2); }
