class Broken {
    /** Whole, beside an error. */
    int whole() {
        return 1;
    }

    /** Has an error. */
    int error() {
        return 1 +;
    }

    /** Whole, after an error. */
    int after() {
        return 2;
    }
}

/** Its method is broken. */
class Outer {
    /** A statement before super. */
    int missing() {
        int a = 1
    }
    /** Fine. */
    int fine() { return 3; }
}
