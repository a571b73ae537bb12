package a

/** Under an annotation. */
@Composable
fun One() {
    Text("1")
}

/** Under one with arguments. */
@JvmName("two")
fun two() {
    println(2)
}

/** Under two. */
@Suppress("A", "B")
@JvmOverloads
fun three(x: Int = 1) {
    println(x)
}

/** On the same line. */
@Test fun four() {
    println(4)
}

/** Written by a tool. */
@Generated("tool")
fun five() {
    println(5)
}

@Deprecated("old")
/** After an annotation. */
fun six() {
    println(6)
}
