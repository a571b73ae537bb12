class Empty {
    /** */
    int nothing() { return 1; }
    /**
     *
     */
    int lines() { return 1; }
    /** {@inheritDoc} */
    int inherited() { return 1; }
    /** @see Other */
    int seeOnly() { return 1; }
    /** @return the number */
    int returnOnly() { return 1; }
}
