/// Derived.
#[automatically_derived]
fn derived() -> u8 { 1 }

#[automatically_derived]
impl Clone for A {
    /// Of a derived implementation.
    fn clone(&self) -> A { A }
}

///
fn nothing() -> u8 { 1 }
