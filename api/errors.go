package api

import (
	"context"
	"net/http"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/horizon"
	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
	"github.com/diamante/gateway/node/protocol"
)

// unavailable is how long a caller is asked to wait for a part that is down.
const unavailable = 5 * time.Second

// statusClientGone is what logs and metrics show of a request whose client went away; nobody reads the answer.
const statusClientGone = 499

// Table is the one table of errors: what is not here is a 500 that says nothing. It is searched from the top. The parts
// that may be down come first, and the database last of them, because it is recognised by any broken connection, which
// the others' errors may wrap as well.
func Table() web.Table {
	const askAgain = "Nothing is known to have been changed. Ask again with the same Idempotency-Key."
	database := web.Row{Is: audit.ErrUnavailable, Status: http.StatusServiceUnavailable, Name: "database-unavailable",
		Title: "The database is unavailable", Detail: askAgain, Retry: unavailable}
	broken := database
	broken.Is, broken.Match = nil, audit.Unavailable
	return web.Table{
		{Is: context.Canceled, Status: statusClientGone, Name: "client-disconnected", Title: "The client went away"},
		{Is: sep.ErrSigner, Status: http.StatusServiceUnavailable, Name: "signer-unavailable", Title: "The signer is unavailable",
			Detail: "Nothing was signed that has any effect. Ask again.", Retry: unavailable},
		{Is: protocol.ErrUnavailable, Status: http.StatusServiceUnavailable, Name: "node-unavailable", Title: "The ledger node is unavailable",
			Detail: "Ask again. A transaction that was handed over can be handed over again: it has effect once.", Retry: unavailable},
		{Is: export.ErrNotSigned, Status: http.StatusServiceUnavailable, Name: "log-not-signed", Title: "The log is not signed up to now",
			Detail: "The sequencer or its signer is away. Ask again.", Retry: unavailable},
		database,
		{Is: context.DeadlineExceeded, Status: http.StatusGatewayTimeout, Name: "deadline-exceeded", Title: "The request took too long",
			Detail: "It is not known whether it had an effect. Ask again with the same Idempotency-Key.", Retry: unavailable},
		broken,
		{Is: audit.ErrContention, Status: http.StatusServiceUnavailable, Name: "busy", Title: "Too many changes at once",
			Detail: "Nothing was changed. Ask again.", Retry: time.Second},

		{Is: web.ErrMalformed, Status: http.StatusBadRequest, Name: "malformed-request", Title: "The request cannot be read", Show: true},
		{Is: web.ErrTooLarge, Status: http.StatusRequestEntityTooLarge, Name: "body-too-large", Title: "The body is too large"},
		{Is: web.ErrURITooLong, Status: http.StatusRequestURITooLong, Name: "uri-too-long", Title: "The query is too long"},
		{Is: web.ErrMediaType, Status: http.StatusUnsupportedMediaType, Name: "unsupported-media-type", Title: "The body is of another media type", Show: true},
		{Is: web.ErrSlow, Status: http.StatusRequestTimeout, Name: "request-timeout", Title: "The body did not arrive in time"},
		{Is: web.ErrNoRoute, Status: http.StatusNotFound, Name: "no-such-path", Title: "Nothing is at this path"},
		{Is: web.ErrMethod, Status: http.StatusMethodNotAllowed, Name: "method-not-allowed", Title: "The path has no such method"},
		{Is: web.ErrUnauthenticated, Status: http.StatusUnauthorized, Name: "authentication-required", Title: "Authentication is required",
			Detail: "No valid credential was given."},
		{Is: web.ErrForbidden, Status: http.StatusForbidden, Name: "forbidden", Title: "The credential does not allow this"},
		{Is: web.ErrLimited, Status: http.StatusTooManyRequests, Name: "too-many-requests", Title: "Too many requests"},
		{Is: web.ErrKeyMissing, Status: http.StatusBadRequest, Name: "idempotency-key-missing", Title: "An Idempotency-Key is required"},
		{Is: web.ErrKeyUsed, Status: http.StatusUnprocessableEntity, Name: "idempotency-key-reused", Title: "The Idempotency-Key was used for another request"},
		{Is: web.ErrKeyBusy, Status: http.StatusConflict, Name: "idempotency-key-in-use", Title: "The first request with this Idempotency-Key is not answered yet",
			Retry: time.Second},

		{Is: sep.ErrChallenge, Status: http.StatusBadRequest, Name: "challenge-refused", Title: "The challenge is not accepted", Show: true},
		{Is: anchor.ErrInvalid, Status: http.StatusBadRequest, Name: "not-possible", Title: "The request cannot be carried out", Show: true},
		{Is: anchor.ErrUnknownAsset, Status: http.StatusBadRequest, Name: "unknown-asset", Title: "This anchor does not have the asset"},
		{Is: anchor.ErrNotEnrolled, Status: http.StatusForbidden, Name: "not-enrolled", Title: "The account is not enrolled: a partner of this anchor must do that first"},
		{Is: anchor.ErrConflict, Status: http.StatusConflict, Name: "conflict", Title: "It was decided otherwise before", Show: true},
		{Is: anchor.ErrNotFound, Status: http.StatusNotFound, Name: "not-found", Title: "There is no such entry"},

		{Is: export.ErrRequest, Status: http.StatusBadRequest, Name: "not-possible", Title: "The request cannot be carried out", Show: true},
		{Is: export.ErrTooLarge, Status: http.StatusUnprocessableEntity, Name: "export-too-large", Title: "The range is too large: export a part of it"},

		{Is: horizon.ErrTransactionMalformed, Status: http.StatusBadRequest, Name: "transaction-malformed", Title: "Transaction Malformed", Show: true},
		{Is: horizon.ErrTransactionFailed, Status: http.StatusBadRequest, Name: "transaction-failed", Title: "Transaction Failed",
			Detail: "The transaction failed when submitted to the network. The `extras.result_codes` field on this response says how."},
		{Is: horizon.ErrSubmissionTimeout, Status: http.StatusGatewayTimeout, Name: "transaction-submission-timeout", Title: "Transaction Submission Timeout",
			Detail: "The transaction was handed to the network and was not seen in a ledger in time. It may still be applied: submit the same one again, or look for its hash."},
		{Is: horizon.ErrBusy, Status: http.StatusServiceUnavailable, Name: "try-again-later", Title: "Server Over Capacity",
			Detail: "The transaction was not taken. Submit the same one again.", Retry: 5 * time.Second},
		{Is: protocol.ErrNotFound, Status: http.StatusNotFound, Name: "not-found", Title: "Resource Missing", Detail: "The ledger has no such entry."},
	}
}
