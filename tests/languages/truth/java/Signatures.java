class Signatures<K extends Comparable<? super K>, V> {
    /** Arrays and varargs. */
    static <T> T[] many(final int[] a, T... rest) throws IOException, E { return rest; }

    /** Over lines. */
    public synchronized
    Map<String, List<Integer>> lines(
            @Nullable String a, /* first */
            @Size(min = 1) int b) // after
    {
        return null;
    }

    /** A default value within. */
    @SuppressWarnings("a(b") public @Nullable int annotated(int a) { return a; }
}
