/// Far away.


func far() { print(1) }

/// Of the constant.
let x = 1
func after() { print(2) }

// An ordinary comment.
func plain() { print(3) }

//// Four slashes.
func four() { print(4) }

/** In a block. */
func block() { print(5) }

/// With a comment below.
// Why.
func below() { print(6) }

let y = 1 /// Behind code.
func behind() { print(7) }

/// Of two lines.
/// The second.
func lines() { print(8) }
