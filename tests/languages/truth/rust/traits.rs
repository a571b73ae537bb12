/// A trait.
pub trait Draw: fmt::Debug {
    /// A type.
    type Output;

    /// To be written.
    fn draw(&self) -> Self::Output;

    /// By default.
    fn twice(&self) {
        self.draw();
        self.draw();
    }
}

/// Of an implementation.
impl<T> Draw for Point<T> {
    /// Draws it.
    fn draw(&self) {
        /// A function within.
        fn helper(x: u8) -> u8 { x }
        helper(1);
    }
}

impl Point {
    /// Makes one.
    pub fn new() -> Self { Self }

    #[doc = "By an attribute."]
    pub fn attribute() -> Self { Self }

    /// Hidden.
    #[doc(hidden)]
    pub fn hidden() -> Self { Self }
}

extern "C" {
    /// Elsewhere.
    fn elsewhere(x: i32);
}

/// Exported.
#[no_mangle]
pub extern "C" fn exported(x: i32) -> i32 { x }
