package service

// Seen returns the position of the newest record that the service knows of.
func (s *Service) Seen() uint64 {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	return s.watch.seen.Position
}

// InFlight returns how many requests are worked on.
func (s *Service) InFlight() int { return len(s.slots) }
