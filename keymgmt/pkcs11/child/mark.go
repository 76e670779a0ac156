package child

import (
	"context"

	"github.com/diamante/gateway/keymgmt"
)

// Mark is pkcs11.Keyring.Mark.
func (r *Ring) Mark(ctx context.Context) (keymgmt.Mark, error) {
	result, err := ask[markResult](ctx, r, methodMark, noCall{})
	return result.Mark, err
}

// RaiseMark is pkcs11.Keyring.RaiseMark.
func (r *Ring) RaiseMark(ctx context.Context, m keymgmt.Mark) (keymgmt.Mark, error) {
	result, err := ask[markResult](ctx, r, methodRaiseMark, markCall{m})
	return result.Mark, err
}
