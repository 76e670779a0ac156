// Command diamante is the operator's and the auditor's command. It holds nothing: no key, no state of its own.
//
//	diamante up [--story]      bring a whole development system up under .run/ and keep it up
//	diamante demo              play the story in a system of its own; the exit status says whether every step held
//	diamante audit verify FILE --key LOG_PUBLIC_KEY    check a package of a log, or the evidence of one signature
//	diamante export            fetch a signed package of the audit log
//	diamante migrate           bring a database to the newest schema
//	diamante genesis           make the file that a network begins with
//	diamante keys              list the keys of a signer on this host
//	diamante keys ceremony|witness|verify
//	                           make, back up and destroy keys before witnesses, and prove it afterwards
//	diamante keys rotate       write the requests by which a key takes another's place on an account
//	diamante hsm doctor        exercise a device, and say how it behaves
//	diamante hsm mark          show what it remembers of the signer's database; after a loss, go on with what there is
//	diamante certificates      keep programs' certificates fresh from Vault
//	diamante check-config      read a program's configuration and what it names
//	diamante policy explain|lint|sign FILE; simulate: what a policy would have changed
//	diamante list explain|lint|sign FILE    a list that a policy names
//	diamante officer keygen|enrol  make an officer's own key, in a file or a passkey
//	diamante approve           list what waits for officers, show one of them what a request would do, and take his approval
//	diamante order new|sign|send   stop keys, or let them sign again
//	diamante reserve attest    say what stands behind an asset; send: deliver it to the signer
//	diamante lien discharge    let collateral leave, as the holder of a lien on it
//	diamante quorum check|analyze|dset|intact|blocking FILE
//	                           say how safe the quorum sets of a network are
//	diamante bench             measure, and print ratios
//
// Commands that change the world say what they would do, and do it only with --yes. Every table is also there as JSON.
package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
)

func main() { boot.Main(run) }

// version is set by release builds.
var version = "development"

func run(ctx context.Context, args []string, stdout io.Writer) error {
	root := &cobra.Command{
		Use: "diamante", Short: "The operator's and the auditor's command of the Diamante gateway", Version: version,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(upCommand(), demoCommand(), auditCommand(), exportCommand(), migrateCommand(), genesisCommand(), keysCommand(), hsmCommand(), certificatesCommand(),
		checkConfigCommand(), benchCommand(), policyCommand(), listCommand(), officerCommand(), approveCommand(), orderCommand(), reserveCommand(), lienCommand(), quorumCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	return root.ExecuteContext(ctx)
}
