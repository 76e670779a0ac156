package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func benchCommand() *cobra.Command {
	return &cobra.Command{Use: "bench", Short: "Measure, and print ratios", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return errors.New("not measured yet") }}
}
