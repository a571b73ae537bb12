#if DEBUG
/// In a condition.
func checked() { print(1) }
#else
/// Otherwise.
func unchecked() { print(2) }
#endif

// MARK: - Helpers

/// After a mark.
func help() { print(3) }
