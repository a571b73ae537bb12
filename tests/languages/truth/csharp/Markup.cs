class C
{
    /// <summary>
    /// Adds <paramref name="a"/> to <see cref="List{T}"/> &amp; returns <see langword="null"/>.
    /// </summary>
    /// <param name="a">The first.</param>
    /// <returns>The sum.</returns>
    public object Add(int a) { return null; }

    /// <inheritdoc/>
    public override string ToString() { return ""; }

    /// <returns>The size.</returns>
    public int Size() { return 1; }

    /// No tags at all.
    public int Bare() { return 2; }

    /// <summary>Not <b>closed.
    public int Open() { return 3; }
}
