/// Let chains.
fn chains(a: Option<u8>) -> u8 {
    if let Some(x) = a && x > 1 { x } else { 0 }
}

/// An async closure.
fn closure() { let f = async |x: u8| x; f(1); }

/// Captures.
fn captures<'a>(x: &'a u8) -> impl Sized + use<'a> { x }

unsafe extern "C" {
    /// Safe.
    pub safe fn sqrt(x: f64) -> f64;
}

/// C strings.
fn cstr() -> &'static CStr { c"hello" }
