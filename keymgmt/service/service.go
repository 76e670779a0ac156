// Package service is the signer itself: it reads a request, asks the policy, writes down what it is about to do, signs
// with a Keyring, verifies its own signature and writes that down too, before anyone gets it.
package service
