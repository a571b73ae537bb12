/// <summary>A person.</summary>
public record Person(string First, string Last);

/// <summary>A point.</summary>
public readonly record struct Point(int X, int Y)
{
    /// <summary>Its length.</summary>
    public double Length() => Math.Sqrt(X * X + Y * Y);
}

/// <summary>A class with a primary constructor.</summary>
public class Service(ILogger log)
{
    /// <summary>Logs.</summary>
    public void Run() { log.Info("run"); }
}
