package kinds;

/** A point. */
public record Point(int x, int y) {
    /** Checks the arguments. */
    public Point {
        if (x < 0) throw new IllegalArgumentException();
    }
}

/** Shapes. */
public sealed interface Shape permits Circle, Square {
    /** Its area. */
    double area();

    /** Twice the area. */
    default double twice() {
        return 2 * area();
    }

    /** A unit shape. */
    static Shape unit() { return new Square(1); }
}

/** Colours. */
enum Colour implements Shape {
    /** Red. */
    RED {
        /** Red's area. */
        @Override public double area() { return 1; }
    },
    /** Green. */
    GREEN;

    /** After the constants. */
    public double area() {
        return 2;
    }
}

/** A marker. */
interface Marker {}

/** An abstract class. */
abstract class Base {
    /** To be written. */
    protected abstract void go();

    /** Native. */
    native void call();

    /** Empty. */
    void nothing() { }

    /** Only a comment. */
    void later() {
        // TODO
    }

    /** Refuses. */
    void refuse() {
        throw new UnsupportedOperationException("not yet");
    }

    /** Fails, but not as a stub. */
    void fail() {
        throw new IllegalStateException();
    }
}
