package node

import "github.com/diamante/gateway/node/herder"

// SetConsensus puts another consensus in the place of the lone validator's.
func (c *Config) SetConsensus(f func(herder.Driver) herder.Consensus) { c.consensus = f }
