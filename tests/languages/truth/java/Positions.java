/** Of the package. */
package positions;
/** Of the import. */
import java.util.*;

/** Of the class, two lines above. */

// An ordinary comment between.

class Positions { /** On the line of the class. */ int first() { return 1; }
    int a; /** Of the line that it is on. */
    int b() { return 1; }
    int c; // trailing
    int d() { return 1; }

    /** Of a field. */
    int e = new Object() {
        /** Within an initialiser. */
        int f() { return 1; }
    }.f();

    /** Of a block. */
    static {
        /** Of a local class. */
        class Local {
            /** Local method. */
            int g() { return 1; }
        }
    }

    ;
    /** After a semicolon. */
    int h() { return 1; } /** Same line. */ int i() { return 2; }
}
