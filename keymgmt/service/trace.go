package service

import (
	"slices"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
)

// checkpointTrace are the records that a signature leaves.
var checkpointTrace = []string{"signature.approved", "signature.made"}

// CheckpointTrace returns which records the signing of a checkpoint with key leaves. They are in the signer's own log, so a
// log that this very key signs would never come to rest if they asked for the next checkpoint. A refusal is none of them:
// whoever is refused must see it signed.
func CheckpointTrace(key keymgmt.KeyID) func(audit.Entry) bool {
	return func(e audit.Entry) bool {
		if !slices.Contains(checkpointTrace, e.Action) {
			return false
		}
		body, err := audit.ReadBody(e.Body)
		return err == nil && body.Subject == key.String()
	}
}
