package a;

/** A documented annotation. */
@Retention(RetentionPolicy.RUNTIME)
@Target({ElementType.TYPE, ElementType.METHOD})
public @interface Annotated {
    /** Its value. */
    String value() default "";
}

/** Written by hand. */
@Named("a { b ;") // why
class Handwritten {
    /** Overridden here. */
    @Override
    @SuppressWarnings({
        "unchecked",
    })
    public String toString() {
        return "x";
    }

    @Deprecated
    /** After its annotation. */
    public int late() {
        return 1;
    }

    public
    /** After a modifier. */
    static int later() {
        return 1;
    }

    /** Written by a tool. */
    @Generated("tool")
    public int generated() {
        return 2;
    }

    /** Written by a tool, too. */
    @javax.annotation.processing.Generated(value = "tool")
    public int generatedToo() {
        return 2;
    }
}
