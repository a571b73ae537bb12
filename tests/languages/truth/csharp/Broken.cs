class C
{
    /// <summary>Whole.</summary>
    int One() { return 1; }

    /// <summary>Broken.</summary>
    int Two() { return 1 + ; }

    /// <summary>Whole, too.</summary>
    int Three() { return 3; }
}
