/** A guard in when, which the grammar does not know: the rest of the file is lost. */
fun guard(x: Any) = when (x) {
    is String if x.isEmpty() -> 1
    else -> 2
}

/** After it. */
fun after() {
    println(1)
}
