package overlay

import (
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// The versions of the overlay protocol that this program speaks. A peer must speak one of them.
const (
	overlayVersion    = 1
	overlayMinVersion = 1
)

// Limits on peers.
const (
	// MaxPeers bounds preferred peers and strangers together.
	MaxPeers = 128
	// DefaultPerAddress is Config.PerAddress if it is not set.
	DefaultPerAddress = 8
	// maxPending bounds the connections of strangers' addresses that have not said who they are yet.
	maxPending = 64
	// maxBans bounds the ban list; the ban that ends first makes room.
	maxBans = 4096
	// maxVersion bounds a program's name, in bytes.
	maxVersion = 100
)

// Limits on time.
const (
	// handshakeLimit is for TLS, HELLO and AUTH together.
	handshakeLimit = 5 * time.Second
	// idleLimit is how long a message may take to come, its last byte included, before the peer is taken for dead.
	idleLimit = 30 * time.Second
	// keepalive is after how long a silent node says that it lives.
	keepalive = 10 * time.Second
	// writeLimit and writeRate are how long a message may take to leave: writeLimit, and a second more for each writeRate bytes.
	writeLimit = 10 * time.Second
	writeRate  = 1 << 20
	// starvedLimit is how long a peer may leave us with something to say and no credit to say it.
	starvedLimit = time.Minute
	// farewell is how long the reason for dropping a peer may take to reach it.
	farewell = time.Second
	// firstPause is before the second attempt to reach a peer; it doubles up to lastPause, and starts again when a
	// connection has held for stable.
	firstPause = 250 * time.Millisecond
	lastPause  = 15 * time.Second
	stable     = 10 * time.Second
	// acceptPause is after a failure to accept that may pass, such as no more file descriptors.
	acceptPause = 100 * time.Millisecond
	// misbehaviourBan is for how long a stranger that misbehaved is not let in again.
	misbehaviourBan = 10 * time.Minute
	// vouchLife is how long a vouching holds; it is renewed at half of that. vouchSkew is how much longer another's
	// clock may make it look. vouchLimit is for one signature, vouchRetry before it is asked for again.
	vouchLife  = time.Hour
	vouchSkew  = 5 * time.Minute
	vouchLimit = 5 * time.Second
	vouchRetry = time.Second
)

// Limits on credit and queues, for one peer.
const (
	// creditMessages and creditBytes are what a peer may have sent that has not been dealt with. They are given back in
	// quarters. A quarter of the bytes and the largest flooded message fit into the whole, so a sender never waits
	// for credit that the receiver holds back.
	creditMessages = 1000
	creditBytes    = 1 << 20
	creditShare    = 4
	// maxWaiting is how many messages that cost no credit may wait for the Handler before the peer is read no further.
	maxWaiting = 4
	// maxCreditMessages and maxCreditBytes bound what a peer may give us.
	maxCreditMessages = 1 << 20
	maxCreditBytes    = 1 << 30
	// maxFloodQueue bounds, in bytes, the SCP messages, transactions, demands and adverts that wait for credit.
	maxFloodQueue = 8 << 20
	// maxDirectQueue and maxDirectBytes bound the questions and answers that wait; two of the largest sets fit.
	maxDirectQueue = 1024
	maxDirectBytes = 2*maxTxSet + 1<<20
	// maxAsked bounds the answers that are remembered as asked for.
	maxAsked = 1024
	// requestBurst and requestRate bound what a peer may ask: so many at once, so many a second. More is not answered.
	requestBurst = 256
	requestRate  = 64
)

// What the credit promises above; it does not compile otherwise.
const _ = uint(creditBytes - creditBytes/creditShare - maxScp)

// Limits on flooding, for the whole node.
const (
	// maxRemembered and maxRememberedBytes bound one generation of remembered messages; there are two.
	maxRemembered      = 1 << 17
	maxRememberedBytes = 64 << 20
	// maxMarks bounds the peers that are remembered to have one message.
	maxMarks = 2 * MaxPeers
	// advertBatch is how many hashes leave at once, advertPeriod after how long fewer do.
	advertBatch  = 200
	advertPeriod = 50 * time.Millisecond
	// demandWindow is how many transactions one peer may owe us, maxBacklog how many hashes of one peer wait for that.
	demandWindow = 2000
	maxBacklog   = 20000
	// demandLimit is how long a peer may owe a transaction before another is asked; retryTick is how often that is looked at.
	demandLimit = time.Second
	retryTick   = 100 * time.Millisecond
	// maxSources bounds the peers that are remembered to offer one transaction, and so the attempts to get it.
	maxSources = 8
)

// Limits on messages, in bytes of XDR.
const (
	maxTxSet     = 16 << 20
	maxScp       = 256 << 10
	maxQuorumSet = 64 << 10 // a thousand validators in inner sets of their own
	maxHashes    = 8 + 32*xdr.TxAdvertVectorMaxSize
	// largeMessage is from where on messages are decoded one at a time, so that a few peers cannot fill the memory.
	largeMessage = 1 << 20
	// decodeFactor is how much larger than its XDR a message may become in memory, beyond decodeSpare: the smallest
	// operation is eight bytes on the wire. maxDepth bounds its nesting; a classic transaction set needs less than 30.
	decodeFactor = 32
	decodeSpare  = 64 << 10
	maxDepth     = 200
)

// kind is the type of a message.
type kind xdr.MessageType

// traits are what a kind of message may be.
type traits struct {
	name  string // in metrics and logs
	limit uint32 // bytes of XDR
	flood bool   // costs credit
}

// kinds are the messages that are spoken. Any other is refused before it is read.
var kinds = map[kind]traits{
	kind(xdr.MessageTypeErrorMsg):         {name: "error", limit: 112},
	kind(xdr.MessageTypeHello):            {name: "hello", limit: 384},
	kind(xdr.MessageTypeAuth):             {name: "auth", limit: 8},
	kind(xdr.MessageTypeDontHave):         {name: "dont_have", limit: 40},
	kind(xdr.MessageTypeGetTxSet):         {name: "get_tx_set", limit: 36},
	kind(xdr.MessageTypeGeneralizedTxSet): {name: "tx_set", limit: maxTxSet},
	kind(xdr.MessageTypeTransaction):      {name: "transaction", limit: 4 + protocol.MaxEnvelopeBytes, flood: true},
	kind(xdr.MessageTypeGetScpQuorumset):  {name: "get_quorum_set", limit: 36},
	kind(xdr.MessageTypeScpQuorumset):     {name: "quorum_set", limit: maxQuorumSet},
	kind(xdr.MessageTypeScpMessage):       {name: "scp", limit: maxScp, flood: true},
	kind(xdr.MessageTypeGetScpState):      {name: "get_scp_state", limit: 8},
	kind(xdr.MessageTypeSendMoreExtended): {name: "send_more", limit: 12},
	kind(xdr.MessageTypeFloodAdvert):      {name: "advert", limit: maxHashes, flood: true},
	kind(xdr.MessageTypeFloodDemand):      {name: "demand", limit: maxHashes, flood: true},
}

func (k kind) name() string {
	if t, ok := kinds[k]; ok {
		return t.name
	}
	return "unknown"
}

// control says whether messages of this kind wait for nothing.
func (k kind) control() bool {
	return k == kind(xdr.MessageTypeSendMoreExtended) || k == kind(xdr.MessageTypeErrorMsg)
}

// metered says whether messages of this kind cost credit.
func (k kind) metered() bool { return kinds[k].flood }

// flooded says whether messages of this kind are passed on from peer to peer.
func (k kind) flooded() bool {
	return k == kind(xdr.MessageTypeScpMessage) || k == kind(xdr.MessageTypeTransaction)
}
