package signatures

// Long has parameters on many lines.
func Long(
	ctx context.Context, // the context
	names []string,
	opts ...func(*Options) error,
) (
	result map[string]interface{},
	err error,
) {
	return nil, nil
}

// Struct has a struct as a parameter.
func Struct(x struct{ A int }, y interface{ B() }) func(int) (int, error) {
	return nil
}

// init is special.
func init() { Long(nil, nil) }

// String is a method of a value.
func (Point) String() string { return "" }
