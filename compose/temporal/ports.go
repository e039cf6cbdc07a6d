package main

import (
	"fmt"
	"net"
)

// freePort finds a port and keeps it from being handed to anybody else who asks for any free one, for about a minute: a
// connection that was closed on this side stays in TIME_WAIT, in which only somebody who names the port can listen on it.
func freePort(ip string) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return 0, fmt.Errorf("no free port on %s: %w", ip, err)
	}
	defer func() { _ = listener.Close() }()
	caller, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return 0, fmt.Errorf("no free port on %s: %w", ip, err)
	}
	defer func() { _ = caller.Close() }()
	taken, err := listener.Accept()
	if err != nil {
		return 0, fmt.Errorf("no free port on %s: %w", ip, err)
	}
	// Before the caller closes: the side that closes first is the one that waits.
	if err := taken.Close(); err != nil {
		return 0, fmt.Errorf("no free port on %s: %w", ip, err)
	}
	return listener.Addr().(*net.TCPAddr).Port, nil
}
