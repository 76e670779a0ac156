package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// Ports are the loopback ports of a rig. The public port is part of the home domain and so of what was signed: once
// chosen, ports stay with the folder.
type Ports struct {
	Public, Partner, Staff, Node, Signer, Postgres int
	Others                                         [Validators - 1]int // where the other validators answer
	Peers                                          [Validators]int     // where validators talk to each other
}

// DefaultPorts are what diamante up uses.
func DefaultPorts() Ports {
	return Ports{Public: 8443, Partner: 8444, Staff: 8445, Node: 8446, Signer: 8447, Postgres: 8448,
		Others: [Validators - 1]int{8449, 8450, 8451}, Peers: [Validators]int{8452, 8453, 8454, 8455}}
}

func (p *Ports) all() []*int {
	out := []*int{&p.Public, &p.Partner, &p.Staff, &p.Node, &p.Signer, &p.Postgres}
	for i := range p.Others {
		out = append(out, &p.Others[i])
	}
	for i := range p.Peers {
		out = append(out, &p.Peers[i])
	}
	return out
}

func (r *Rig) choosePorts() (Ports, error) {
	file := r.Path("ports.json")
	raw, err := os.ReadFile(file)
	if err == nil {
		var p Ports
		if err := json.Unmarshal(raw, &p); err != nil {
			return p, fmt.Errorf("rig: %s: %w", file, err)
		}
		return p, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return Ports{}, fmt.Errorf("rig: %w", err)
	}
	p := r.opts.Ports
	for _, port := range p.all() {
		if *port != 0 {
			continue
		}
		if *port, err = freePort(); err != nil {
			return p, err
		}
	}
	raw, err = json.Marshal(p)
	if err != nil {
		return p, fmt.Errorf("rig: %w", err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return p, fmt.Errorf("rig: %w", err)
	}
	return p, nil
}

// Ports are looked for here: below the range from which systems give ports to outgoing connections, one of which could take
// a program's port while the program is down.
const (
	leastPort = 15_000
	mostPort  = 30_000
	portTries = 1000
)

// freePort returns a loopback port that nobody listens on just now.
func freePort() (int, error) {
	for range portTries {
		l, err := net.Listen("tcp", loopback(leastPort+rand.IntN(mostPort-leastPort)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	return 0, errors.New("rig: no free port")
}
