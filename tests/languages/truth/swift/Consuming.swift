/// Consuming.
consuming func take(x: Int) { print(x) }

/// After it.
func after() { print(1) }
