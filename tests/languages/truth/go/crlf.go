package crlf

// Windows has its line ends.
//
// And paragraphs.
func Windows() int {
	return 1
}
