/// A point.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Point<T> {
    /// Its x.
    pub x: T,
}

/// A tuple.
struct Pair(i32, i32);

/// A unit.
struct Unit;

/// Shapes.
pub enum Shape {
    /// Round.
    Circle { r: f64 },
    Square,
}

/// A union.
union Bits { a: u32, b: f32 }

/// An alias.
pub type Result<T> = std::result::Result<T, Error>;

/// A constant.
const A: i32 = 1;

/// A module.
mod inner {
    //! Within the module.

    /// In a module.
    pub(super) fn go() { super::run(); }
}

/// A static.
static B: i32 = 1;
