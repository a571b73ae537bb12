/** Windows
 * line ends. */
class Crlf {
    /** A method.
     *
     * @return one
     */
    @Override
    int one() {
        return 1;
    }
}
