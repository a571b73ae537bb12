using System;

/// <summary>At the top.</summary>
int Top(int x) { return x; }

class C
{
    /// <summary>Has a local function.</summary>
    public int Outer()
    {
        /// <summary>Within.</summary>
        int Inner(int x) { return x; }
        return Inner(1);
    }
}
