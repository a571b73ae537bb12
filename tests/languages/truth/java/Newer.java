import module java.base;

/** Its file has syntax that the grammar does not know. */
class Newer extends Base {
    /** Before super. */
    Newer(int a) {
        if (a < 0) throw new IllegalArgumentException();
        super(a);
    }

    /** A switch with patterns. */
    int patterns(Object o) {
        return switch (o) {
            case Integer i when i > 0 -> i;
            case Point(int x, _) -> x;
            default -> 0;
        };
    }
}

/** A method without a class. */
void main() {
    IO.println("hello");
}
