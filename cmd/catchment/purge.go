package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/node"
	"github.com/catchment-net/catchment/popd"
)

func (a *app) purge() *cobra.Command {
	var t target
	var what popd.PurgeRequest
	cmd := a.jsonFlag(&cobra.Command{
		Use: "purge URL | --key K", Short: "Have a node's cache forget a URL, or all that has a surrogate key", Args: cobra.MaximumNArgs(1),
		Long: `Have the cache of one node forget a URL with all its variants, or every answer that has one of the surrogate keys
that origins give in Surrogate-Key, Cache-Tag, xkey and Cache-Groups. What is on its way from the origin is meant, too:
once the command has returned, no request that comes is answered with what was fetched before. With --soft what is
purged is stale from then on, and is served as far as a stale answer may be.`,
		Example: `  catchment purge http://www.shop.example/shoes/7
  catchment purge --key shoes --key sale --site shop --soft`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				what.URL = args[0]
			}
			if (what.URL != "") == (len(what.Keys) > 0) {
				return errors.New("purge what? name either a URL or a surrogate key with --key")
			}
			if what.Site != "" && what.URL != "" {
				return errors.New("--site goes with --key; a URL says itself whose it is")
			}
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			began := time.Now()
			var done popd.Purged
			if err := c.Post(cmd.Context(), node.PurgePath, what, &done); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(done)
			}
			_, err = fmt.Fprintf(a.out, "purged at %s in %v (generation %d)\n", done.Node, time.Since(began).Round(100*time.Microsecond), done.Generation)
			return err
		},
	})
	cmd.Flags().StringArrayVar(&what.Keys, "key", nil, "a surrogate key; may be repeated")
	cmd.Flags().StringVar(&what.Site, "site", "", "whose keys (default: those of every site)")
	cmd.Flags().BoolVar(&what.Soft, "soft", false, "only make it stale")
	return targetFlags(cmd, &t)
}
