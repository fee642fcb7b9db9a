// Package fault plants named defects in a binary built with the tag "faults", so that tests can show that the drills
// catch a broken system. In every other build Is is a constant and the defect is compiled away.
package fault

// The planted defects.
const (
	NeverWithdraws    = "never-withdraws"     // bgpd keeps announcing whatever happens short of its own death
	WithdrawsIPv4Only = "withdraws-ipv4-only" // bgpd forgets the IPv6 prefixes when it withdraws
	DNSKeepsDeadPOP   = "dns-keeps-dead-pop"  // dnsd ignores the health view
	SharesPrivate     = "shares-private"      // popd stores and shares answers marked private
	WrongBody         = "wrong-body"          // popd flips one byte of a cached body
)
