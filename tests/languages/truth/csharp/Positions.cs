class C
{
    /// <summary>Far away.</summary>


    public int Far() { return 1; }

    /// <summary>Another member is between.</summary>
    int between;
    public int After() { return between; }

    int x; /// <summary>Behind code.</summary>
    public int Behind() { return x; }

    // An ordinary comment.
    public int Plain() { return 2; }

    //// Four slashes.
    public int Four() { return 4; }

    /** <summary>In a block.</summary> */
    public int Block() { return 5; }

    /// <summary>With a comment below.</summary>
    // Why it is so.
    public int Below() { return 6; }

    /// <summary>Of two lines.
    /// The second.</summary>
    public int Lines() { return 7; }
}
