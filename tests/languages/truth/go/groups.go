package generated

type (
	// Lone is alone in its group.
	Lone struct {
		A int
	}
)

// Grouped types have a comment of their own.
type (
	First  int
	Second int
)

// Above a group of one.
type (
	Third int
)
