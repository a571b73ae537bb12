/** A value class. */
@JvmInline
value class Name(val value: String)

/** A functional interface. */
fun interface Action {
    fun run()
}

/** Sealed. */
sealed interface Shape {
    /** Nested. */
    data class Circle(val r: Double) : Shape
}
