/**
 * Windows.
 */
class Crlf {
    /**
     * One.
     * Two.
     */
    fun m(): Int {
        return 1
    }
}
