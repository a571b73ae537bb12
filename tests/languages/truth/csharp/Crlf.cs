/// <summary>Windows.</summary>
class Crlf
{
    /// <summary>One.
    /// Two.</summary>
    [Fact]
    int M()
    {
        return 1;
    }
}
