// Package ethereum has go-ethereum judge what this project makes of Ethereum transactions. It holds tests only, in a
// module of its own, so that no program links the judge:
//
//	cd deploy/judges/ethereum && go test ./...
//
// What is compared: the digest that is signed, the transaction that the network takes and who it says sent it, the
// addresses, the arguments of calls; and that what go-ethereum refuses is never accepted by us.
package ethereum
