package test

// TestAdd tests it.
func TestAdd(t *testing.T) {
	t.Run("a", func(t *testing.T) {
		// Inside.
		f := func() {}
		f()
	})
}

// ExampleAdd shows it.
func ExampleAdd() {
	fmt.Println(Add(1, 2))
	// Output: 3
}
