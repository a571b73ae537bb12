static class Strings
{
    extension(string text)
    {
        /// <summary>Its words.</summary>
        public int Words() { return text.Split(' ').Length; }
    }

    /// <summary>An extension method.</summary>
    public static bool IsBlank(this string text) => text.Trim() == "";
}
