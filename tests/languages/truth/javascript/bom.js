/** With a byte order mark. */
function bom() {
	return "ä";
}
