/** Holds <code>T</code>s &amp; more, see {@link List#add(Object) add}. */
class Generic<T> {
    /**
     * Gets {@code a < b}.
     * <pre>
     *   get(1);
     * </pre>
     */
    T get(int i) { return items.get(i); }
}
