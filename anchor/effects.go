package anchor

import (
	"context"
	"fmt"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
)

// step is what the effects of a machine's step are carried out with. What the step has no use for is zero.
type step struct {
	ref       string                // of the movement, its transfer, and the job that moves credit for it
	id        string                // of the deposit, of the withdrawal in its round, or of the payment that came
	asset     AssetConfig           // of a hold
	amount    money.Amount          // of a hold
	clearance *compliance.Clearance // of a hold
	held      heldEntry             // what a person is shown
}

// perform carries out the effects of a step in the transaction that stores the new state.
func (s *Service) perform(ctx context.Context, tx *audit.Tx, effects []flow.Effect, with step) error {
	for _, e := range effects {
		var err error
		switch e {
		case flow.HoldDeposit:
			err = s.holdTransfer(ctx, tx, with, with.asset.suspense(), with.asset.issued())
		case flow.HoldWithdrawal:
			err = s.holdTransfer(ctx, tx, with, with.asset.issued(), with.asset.payable())
		case flow.HoldPayout:
			err = s.holdTransfer(ctx, tx, with, with.asset.payable(), with.asset.bank())
		case flow.PostDeposit, flow.PostWithdrawal, flow.PostPayout, flow.PostReturn:
			s.Failpoint("post.before")
			_, err = s.Custody.Post(ctx, tx, book.TransferID(with.ref))
			s.Failpoint("post.after")
		case flow.HoldReturn:
			err = s.holdTransfer(ctx, tx, with, with.asset.payable(), with.asset.issued())
		case flow.VoidDeposit, flow.VoidReturn, flow.VoidPayout:
			_, err = s.Custody.Void(ctx, tx, book.TransferID(with.ref))
		case flow.Recover:
			err = s.recover(ctx, tx, with)
		case flow.PayLate:
			err = s.fact(ctx, tx, book.Transfer{Debit: with.asset.payable(), Credit: with.asset.bank(), Amount: with.amount, Ref: with.ref})
		case flow.IssueAgain:
			err = openJob(ctx, tx, jobReissue, with.ref)
		case flow.Issue:
			err = openJob(ctx, tx, jobIssue, with.ref)
		case flow.Burn:
			err = openJob(ctx, tx, jobBurn, with.ref)
		case flow.Refund:
			err = reopenJob(ctx, tx, jobRefund, with.id)
		case flow.Return:
			err = reopenJob(ctx, tx, jobReturn, with.id)
		case flow.WritePayout:
			err = openJob(ctx, tx, jobPayout, "withdrawal/"+with.id)
		case flow.Quarantine:
			err = s.quarantine(ctx, tx, with.held)
		default:
			err = fmt.Errorf("anchor: effect %q is of another machine", e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) holdTransfer(ctx context.Context, tx *audit.Tx, with step, debit, credit book.Code) error {
	_, err := s.Custody.Hold(ctx, tx, with.clearance, book.Transfer{ID: book.TransferID(with.ref), Debit: debit, Credit: credit,
		Amount: with.amount, Ref: with.ref})
	return err
}
