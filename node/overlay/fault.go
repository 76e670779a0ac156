package overlay

import (
	"errors"
	"io"
	"net"
	"os"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// fault is a reason why a connection ends. Errors wrap one.
type fault struct {
	reason string        // in metrics
	code   xdr.ErrorCode // what the peer is told
	quiet  bool          // the peer is told nothing
}

func (f *fault) Error() string { return "overlay: " + f.reason }

// The reasons. What the peer did wrong:
var (
	errMalformed  = &fault{reason: "malformed", code: xdr.ErrorCodeErrData}
	errOversize   = &fault{reason: "oversize", code: xdr.ErrorCodeErrData}
	errUnexpected = &fault{reason: "unexpected", code: xdr.ErrorCodeErrData} // a message that may not come, or not now
	errCredit     = &fault{reason: "no_credit", code: xdr.ErrorCodeErrLoad}  // sent more, or gave more, than it may
	errMisbehaved = &fault{reason: "misbehaved", code: xdr.ErrorCodeErrData} // the Handler says so
	errNetwork    = &fault{reason: "network", code: xdr.ErrorCodeErrConf}
	errVersion    = &fault{reason: "version", code: xdr.ErrorCodeErrConf}
	errVouching   = &fault{reason: "vouching", code: xdr.ErrorCodeErrAuth} // not signed by the identity, or out of its time
	errBinding    = &fault{reason: "binding", code: xdr.ErrorCodeErrAuth}  // belongs to another connection
	errIdentity   = &fault{reason: "identity", code: xdr.ErrorCodeErrAuth} // not the one that was dialled
	errSelf       = &fault{reason: "self", code: xdr.ErrorCodeErrConf}
	errBanned     = &fault{reason: "banned", code: xdr.ErrorCodeErrAuth}
)

// What nobody need have done wrong:
var (
	errTLS       = &fault{reason: "tls", quiet: true}
	errFull      = &fault{reason: "full", code: xdr.ErrorCodeErrLoad}
	errDuplicate = &fault{reason: "duplicate", code: xdr.ErrorCodeErrMisc} // another connection to the same peer was kept
	errIdle      = &fault{reason: "idle", quiet: true}
	errSlow      = &fault{reason: "slow", quiet: true} // took or let us send nothing for too long
	errLost      = &fault{reason: "lost", quiet: true} // the connection broke
	errToldOff   = &fault{reason: "told_off", quiet: true}
	errStopped   = &fault{reason: "stopped", code: xdr.ErrorCodeErrMisc}
	errUnvouched = &fault{reason: "unvouched", code: xdr.ErrorCodeErrMisc} // nobody vouches for us at present
)

// guilty are the reasons for which a stranger is banned for a while.
var guilty = map[*fault]bool{errMalformed: true, errOversize: true, errUnexpected: true, errCredit: true, errMisbehaved: true}

// faultOf finds the reason in err.
func faultOf(err error) *fault {
	var f *fault
	var timeout net.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return errIdle
	}
	return errLost
}

// ended says whether err is only the end of a connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}
