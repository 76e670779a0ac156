package node

import "github.com/diamante/gateway/node/herder"

// WrapConsensus puts something between the herder and its consensus.
func (c *Config) WrapConsensus(f func(herder.Consensus) herder.Consensus) { c.wrap = f }
