abstract class C
{
    /// <summary>Abstract.</summary>
    public abstract int One();

    /// <summary>Throws.</summary>
    public int Two() { throw new NotImplementedException("later"); }

    /// <summary>Throws in an expression.</summary>
    public int Three() => throw new System.NotSupportedException();

    /// <summary>Empty.</summary>
    public void Four() { }

    /// <summary>Throws something else.</summary>
    public int Five() { throw new ArgumentException("no"); }

    /// <summary>External.</summary>
    [DllImport("x")]
    static extern int Six();
}
