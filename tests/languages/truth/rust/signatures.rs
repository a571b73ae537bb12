/// Over many lines.
pub async fn many<
    F: Fn(u8) -> u8,
    const N: usize,
>(
    self: &mut Self, // why
    #[allow(unused)] f: F,
    (a, b): (u8, u8),
) -> Result<[u8; N], Box<dyn Error + Send>> {
    f(1)
}

/// A visibility.
pub(in crate::a) unsafe extern "system" fn visible(mut x: u8, ...) { x += 1; }
