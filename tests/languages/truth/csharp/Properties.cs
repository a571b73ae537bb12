class C
{
    /// <summary>Computed.</summary>
    public int Size => items.Count;

    /// <summary>Written out.</summary>
    public int Width
    {
        get { return width; }
        set { width = value; }
    }

    /// <summary>Automatic ones are like fields.</summary>
    public int Height { get; set; } = 1;

    /// <summary>By index.</summary>
    public int this[int i]
    {
        get => items[i];
    }

    /// <summary>By name.</summary>
    public int this[string name] => Find(name);

    /// <summary>An event.</summary>
    public event EventHandler Changed
    {
        add { handlers += value; }
        remove { handlers -= value; }
    }

    /// <summary>An event without code.</summary>
    public event EventHandler Closed;
}
