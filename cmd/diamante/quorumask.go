package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/node/fbas"
)

func quorumAnalyzeCommand() *cobra.Command {
	return quorumVerb("analyze FILE", "Say also which minimal sets agree, block and split, and who is in the top tier",
		func(ctx context.Context, sys *fbas.System) (a quorumAnswer, err error) {
			all := sys.Analyse(ctx)
			if err := all.Reasons[fbas.PartIntersection]; err != nil {
				a.known("quorum_intersection", nil, err)
			} else {
				a.intersection(all.Intersection)
			}
			a.known("top_tier", all.TopTier, all.Reasons[fbas.PartTopTier])
			a.known("minimal_blocking_sets", all.BlockingSets, all.Reasons[fbas.PartBlockingSets])
			a.known("minimal_splitting_sets", all.SplittingSets, all.Reasons[fbas.PartSplittingSets])
			a.known("minimal_quorums", all.Quorums, all.Reasons[fbas.PartQuorums])
			return a, unexpected(all.Reasons)
		})
}

// unexpected is an error that is no honest "not known": a mistake of the program, which must not pass for an answer.
func unexpected(reasons fbas.Reasons) error {
	for _, err := range reasons {
		if err != nil && !fbas.NotKnown(err) {
			return err
		}
	}
	return nil
}

// known adds a fact, or why it is not known.
func (a *quorumAnswer) known(name string, value any, err error) {
	if err == nil {
		a.add(name, value)
		return
	}
	a.add(name, nil)
	a.reason(name, err)
}

func quorumDSetCommand() *cobra.Command {
	var of []string
	c := quorumVerb("dset FILE [--set a,b]", "Say whether the network can do without a set of nodes; or list all such sets",
		func(ctx context.Context, sys *fbas.System) (a quorumAnswer, err error) {
			if of == nil {
				sets, err := sys.DispensableSets(ctx)
				a.known("dispensable_sets", sets, err)
				return a, unexpected(fbas.Reasons{"": err})
			}
			return dispensable(ctx, sys, of)
		})
	c.Flags().StringSliceVar(&of, "set", nil, "public keys of the set, with commas between; may be empty")
	return c
}

// dispensable answers whether the network can do without a set.
func dispensable(ctx context.Context, sys *fbas.System, of []string) (a quorumAnswer, err error) {
	d, err := sys.Dispensable(ctx, of)
	switch {
	case fbas.NotKnown(err) && d.Availability:
		a.known("dispensable", nil, err)
	case err != nil && !fbas.NotKnown(err):
		return a, err
	default:
		a.add("dispensable", d.Both())
	}
	a.known("intersection_despite", d.Intersection, err)
	a.add("availability_despite", d.Availability)
	return a, nil
}

func quorumIntactCommand() *cobra.Command {
	var ill []string
	c := quorumVerb("intact FILE --ill a,b", "Say whom ill-behaved nodes cannot harm, and whom they can",
		func(ctx context.Context, sys *fbas.System) (a quorumAnswer, err error) {
			intact, befouled, err := sys.Intact(ctx, ill)
			if err != nil && !fbas.NotKnown(err) {
				return a, err
			}
			a.known("intact", intact, err)
			a.known("befouled", befouled, err)
			return a, nil
		})
	c.Flags().StringSliceVar(&ill, "ill", nil, "public keys of the ill-behaved nodes, with commas between; may be empty")
	return c
}

func quorumBlockingCommand() *cobra.Command {
	var node string
	var of []string
	c := quorumVerb("blocking FILE --node v --set a,b", "Say whether a set of nodes is v-blocking: whether it has a node of every slice of v",
		func(_ context.Context, sys *fbas.System) (a quorumAnswer, err error) {
			v, err := sys.VBlocking(node, of)
			if err == nil {
				a.add("v_blocking", v)
			}
			return a, err
		})
	c.Flags().StringVar(&node, "node", "", "public key of the node v")
	c.Flags().StringSliceVar(&of, "set", nil, "public keys of the set, with commas between")
	return c
}
