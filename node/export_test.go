package node

import (
	"time"

	"github.com/diamante/gateway/node/herder"
)

// OnAgreed has every agreement told to f, too.
func (c *Config) OnAgreed(f func(took time.Duration)) { c.agreed = f }

// WrapConsensus puts something between the herder and its consensus.
func (c *Config) WrapConsensus(f func(herder.Consensus) herder.Consensus) { c.wrap = f }
