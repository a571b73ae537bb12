class C
{
#if DEBUG
    /// <summary>In a condition.</summary>
    void Checked() { Check(); }
#else
    /// <summary>Otherwise.</summary>
    void Unchecked() { Skip(); }
#endif

    #region Helpers
    /// <summary>In a region.</summary>
    void Help() { Do(); }
    #endregion
}
