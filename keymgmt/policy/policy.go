// Package policy decides what each key may sign.
//
// It is pure: rules from a signed file, the decoded meaning of a request and a few facts go in, an Approval or a denial
// that names its rule comes out. The rules are a closed set of typed limits over big integers. Nothing is allowed
// that no rule allows, an unknown field in the file is an error, and the order of the rules means nothing.
package policy
