/**
 * Starred
 * lines.
 */
fn starred() -> u8 { 1 }

/**
Bare lines,

of two paragraphs.
*/
fn bare() -> u8 { 1 }

/* /* nested */ ordinary */
fn nested() -> u8 { 1 }

fn inside() -> u8 {
    /*! By an inner block. */
    1
}

/** One */ /** two */ fn same_line() -> u8 { 1 }
