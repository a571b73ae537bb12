class C
{
    /// <summary>Under attributes.</summary>
    [Obsolete("old")]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int One() { return 1; }

    [Obsolete]
    /// <summary>After an attribute.</summary>
    public int Two() { return 2; }

    /// <summary>With attributes of parameters.</summary>
    public int Three([NotNull] string a, [CallerMemberName] string b = "") { return 3; }

    /// <summary>Written by a tool.</summary>
    [System.CodeDom.Compiler.GeneratedCode("tool", "1.0")]
    public int Four() { return 4; }

    /// <summary>Written by the compiler.</summary>
    [CompilerGenerated]
    public int Five() { return 5; }
}
