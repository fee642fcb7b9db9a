// Package fault plants named defects in a binary built with the tag "faults", so that tests can show that the drills
// catch a broken system. In every other build Is is a constant and the defect is compiled away. docs/drills.md lists
// which shipped drill catches each defect, and in which words.
package fault

// The planted defects.
const (
	NeverWithdraws     = "never-withdraws"      // bgpd keeps announcing whatever happens short of its own death
	WithdrawsIPv4Only  = "withdraws-ipv4-only"  // bgpd forgets the IPv6 prefixes when it withdraws
	WithdrawsTooLate   = "withdraws-too-late"   // bgpd withdraws 2 s after the service has failed
	AnnouncesWhileDown = "announces-while-down" // bgpd announces again 1 s after the service has failed
	Flaps              = "flaps"                // bgpd at the first POP withdraws and announces, 2 s each, all the time
	DrainDrops         = "drain-drops"          // bgpd drains without GSHUT, popd refuses requests as soon as the drain is known
	DNSKeepsDeadPOP    = "dns-keeps-dead-pop"   // dnsd ignores the health view
	AnswersEmpty       = "answers-empty"        // dnsd answers without an address while any POP is down
	SharesPrivate      = "shares-private"       // popd stores and shares answers marked private
	WrongBody          = "wrong-body"           // popd flips one byte of a cached body
	KeysDifferently    = "keys-differently"     // popd at every other POP ignores the site's drop_query
	ShieldBypassed     = "shield-bypassed"      // popd fetches from the origin, never through the shield
)

// All lists the planted defects, for the test that wants each of them caught.
func All() []string {
	return []string{
		NeverWithdraws, WithdrawsIPv4Only, WithdrawsTooLate, AnnouncesWhileDown, Flaps, DrainDrops,
		DNSKeepsDeadPOP, AnswersEmpty, SharesPrivate, WrongBody, KeysDifferently, ShieldBypassed,
	}
}
