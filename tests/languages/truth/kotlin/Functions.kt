/** An expression. */
fun <T : Comparable<T>> largest(list: List<T>): T? = list.maxOrNull()

/** An extension. */
inline fun String.words(crossinline block: (String) -> Unit) where T : Any {
    split(" ").forEach { block(it) }
}

/** An infix operator. */
infix operator fun Int.times(other: String): String = other.repeat(this)

/** An extension property. */
val String.half: Int get() = length / 2

/** Has a function within. */
fun outer(): Int {
    /** Within. */
    fun inner(x: Int) = x + 1
    return inner(1)
}

/** Its result is a lambda. */
fun lambda() = { x: Int ->
    x + 1
}
