package comments

// ---------------------------------------------------------------------
// Banner
// ---------------------------------------------------------------------

// One is below a banner.
func One() int { return 1 }

/* Short. */ func Short() int { return 1 }

/* A */ /* B */
func AB() int { return 1 }

// Mixed runs
/* end with the nearest. */
func Mixed() int { return 1 }

// See [Other] and the list:
//   - one
//   - two
//
// # Heading
//
//	code()
func Lists() int { return 1 }

func (s *S) undocumented() int { return 1 }

// #nosec
func nosec() int { return 1 }

//nolint:gocyclo // Because it is long.
func linted() int { return 1 }
