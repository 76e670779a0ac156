package ethereum

// Signatures returns the methods that are known, with their kinds.
func Signatures() map[string]Kind {
	out := map[string]Kind{}
	for _, m := range methods {
		out[m.signature] = m.kind
	}
	return out
}
