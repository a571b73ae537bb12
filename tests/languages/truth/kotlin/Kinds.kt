package a

/** A class. */
@Serializable
internal open class Kinds<T : Any>(
    private val x: Int,
    /** Of a parameter. */
    val y: String = "",
) : Base(x), Thing {

    /** A property is no pair. */
    val size: Int = 1

    /** Computed. */
    val area: Int
        get() = x * x

    /** A secondary constructor. */
    constructor(y: String) : this(1, y) {
        println(y)
    }

    /** A method. */
    override suspend fun run(a: Int, b: Int): Int {
        return a + b
    }

    fun undocumented() {
        println(1)
    }

    /** Makes them. */
    companion object {
        /** Of the companion. */
        fun create() = Kinds<Int>(1)
    }
}

/** An interface. */
interface Thing {
    /** Without a body. */
    fun name(): String
}

/** An object. */
object Registry {
    /** Finds. */
    fun find(key: String) = all[key]
}

/** Values. */
enum class Color(val code: Int) {
    RED(1),
    GREEN(2),
}

/** Data. */
data class Point(val x: Int, val y: Int)

/** A marker. */
annotation class Marker

/** An alias. */
typealias Handler = (Int) -> Unit
