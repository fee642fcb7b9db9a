// Package conformance compares our name server with Knot, NSD and BIND, Debian's packages, side by side: the same zones,
// the same packets, and the answers field by field.
//
//	testdata/*.txtar ─┐                 ┌─► ours ─┐
//	generated zones  ─┼─► zones, packets┼─► knot ─┼─► fields ─► judge: where the peers agree, so must we
//	malformed        ─┘                 ├─► nsd  ─┤
//	                                    └─► bind ─┘
//
// Beside it, a zone delegated to two of our POPs is resolved by unbound, from the root down.
//
// Where they differ among themselves the standards leave it free. With the build tag lab there are more zones.
package conformance
