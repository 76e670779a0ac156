package api_test

import (
	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/horizon"
	"github.com/diamante/gateway/api/partner"
	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/staff"
)

// What the programs put together fits together.
var (
	_ sep.Anchor        = (*anchor.Service)(nil)
	_ partner.Bank      = (*anchor.Service)(nil)
	_ partner.Customers = (*anchor.Service)(nil)
	_ staff.Anchor      = (*anchor.Service)(nil)
	_ api.Mounter       = (*sep.Server)(nil)
	_ api.Mounter       = (*horizon.Server)(nil)
	_ api.Mounter       = (*partner.Server)(nil)
	_ api.Mounter       = (*staff.Server)(nil)
)
