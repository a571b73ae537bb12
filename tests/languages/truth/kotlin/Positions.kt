/** Far away. */


fun far() = 1

/** Of the property. */
val x = 1
fun after() = 2

// An ordinary comment.
fun plain() = 3

/* No documentation. */
fun block() = 4

/** The first. */
/** The second. */
fun second() = 5

/** With a comment below. */
// Why.
fun below() = 6

val y = 1 /** Behind code. */
fun behind() = 7
