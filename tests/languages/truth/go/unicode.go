package unicode

// Größe returns a "größe" — 世界.
func Größe(é string) string { return "😀" + é }
