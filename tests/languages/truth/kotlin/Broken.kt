class Broken {
    /** Whole. */
    fun one() = 1

    /** Broken. */
    fun two() { val = 1 }

    /** Whole, too. */
    fun three() = 3
}
