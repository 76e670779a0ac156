package export

// Header is header, for tests that rebuild packages.
func Header(name string, size int64) []byte { return header(name, size) }
