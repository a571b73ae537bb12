/* Copyright of somebody. */
package a.b;

import java.util.List;

/**
 * Counts things.
 *
 * <p>It is not thread-safe.
 */
public final class Members<T extends Comparable<T>> extends Base implements Countable {
    /** How many there are. */
    private int count; /** Trailing, of nothing. */
    private int other = 3; // of other

    int undocumented() {
        return other;
    }

    /** Makes an empty counter. */
    public Members(int start) {
        this.count = start;
    }

    // An ordinary comment.
    void ordinary() {
        count++;
    }

    /**
     * Adds all things.
     *
     * @param things what to add
     * @return the new count
     * @throws IllegalStateException if it is closed
     */
    public <S> int addAll(
        List<? extends S> things, // those to add
        boolean twice
    ) throws IllegalStateException {
        count += things.size();
        /* Between statements. */
        return count;
    }

    /** One line. */ static int oneLine() { return 1; }

    /** Not this one. */

    /** The last one counts. */
    static int last() { return 1; }

    /**
     * An inner type.
     */
    static class Inner {
        /** A method within. */
        protected void run() { new Thread() {
                /** An anonymous method. */
                @Override public void run() { go(); }
            }.start();
        }
    }
    /**/
    void emptyComment() { count = 0; }
    /*********
     * Banner
     *********/
    void afterBanner() { count = 0; }
}
