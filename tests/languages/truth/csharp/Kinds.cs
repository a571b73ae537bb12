namespace A.B;

/// <summary>A documented class.</summary>
[Serializable]
public partial class Kinds<T> : Base, IThing
    where T : class
{
    /// <summary>A field is no pair.</summary>
    private readonly int field = 1;

    /// <summary>Makes one.</summary>
    public Kinds(int a) : base(a) { x = 1; }

    /// <summary>Ends one.</summary>
    ~Kinds() { Close(); }

    /// <summary>Adds two.</summary>
    public static Kinds<T> operator +(Kinds<T> a, Kinds<T> b) { return a; }

    /// <summary>Converts.</summary>
    public static implicit operator int(Kinds<T> a) => 1;

    void Undocumented() { x = 2; }
}

/// <summary>An interface.</summary>
internal interface IThing
{
    /// <summary>Without a body.</summary>
    void Do();

    /// <summary>With a body.</summary>
    int Twice(int x) => 2 * x;
}

/// <summary>Values.</summary>
public enum Values { One, Two }

/// <summary>A structure.</summary>
public readonly struct Point
{
    public readonly int X;
}

/// <summary>A delegate.</summary>
public delegate int Fold<in T>(T left, T right);

/// <summary>Nothing in it.</summary>
class Empty { }
