abstract class Stubs {
    /** Abstract. */
    abstract fun one(): Int

    /** To do. */
    fun two(): Int = TODO("later")

    /** To do in a block. */
    fun three(): Int {
        TODO()
    }

    /** Empty. */
    fun four() {}

    /** Throws. */
    fun five(): Int = throw NotImplementedError()

    /** Throws something else. */
    fun six(): Int = throw IllegalStateException("no")
}
