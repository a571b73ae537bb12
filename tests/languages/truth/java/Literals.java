class Literals {
    class Deep {
        /** Keeps the block as it is. */
        String block() {
            String s = """
                {
              "a": 1
                }
                """;
            return s; /* a comment
                of two lines */
        }

	/** Indented with a tab. */
	String tab() {
	    return "/** not a comment */ \u0041 ä 😀";
	}

        /** "Quotes" and Grüße. */
        char quote() { return '"'; }
    }
}
