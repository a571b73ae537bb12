package broken

// Whole is whole.
func Whole() int { return 1 }

// Broken is not.
func Broken() int { return 1 + }

// Again is whole.
func Again() int { return 2 }
