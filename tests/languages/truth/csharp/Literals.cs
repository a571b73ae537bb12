class C
{
    /// <summary>A verbatim string.</summary>
    string Verbatim()
    {
        return @"one
            two { """;
    }

    /// <summary>A raw string.</summary>
    string Raw() => """
        three
        """;
}
