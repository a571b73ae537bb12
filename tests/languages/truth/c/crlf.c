// Windows
// line ends.
int crlf(void)
{
	return 1;
}

//	A tab.
int tab(void) { return 1; }
