package literals

func outer() {
	// Inner types may be documented.
	type inner struct {
		text string
	}
	x := `
	raw // no comment
func f() {}
`
	_ = x
}

// Raw has a string of several lines.
func Raw() string {
	return `a
	b` + "/* no */"
}
