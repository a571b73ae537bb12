/** On one line. */
interface One { fun one() }

/** After it. */
fun after() = 1
