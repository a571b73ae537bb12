/**
 * Adds [a] to [List.size], see [the docs](https://a.b).
 *
 * ```
 * @param inside
 * ```
 * @param a the first
 * @return the sum
 */
fun add(a: Int) = a + 1

/** @suppress */
fun hidden() = 1

/** @return the size */
fun size() = 2
