/// Whole.
fn whole() -> u8 { 1 }

/// Broken.
fn broken() -> u8 { 1 + }

impl A {
    /// Whole in an implementation.
    fn one(&self) -> u8 { 1 }

    /// Broken in it.
    fn two(&self) -> u8 { let }

    /// Whole again.
    fn three(&self) -> u8 { 3 }
}
