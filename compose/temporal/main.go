// The Temporal server and its UI in one process, for development and tests: the same arguments as `temporal server
// start-dev`, so that Temporal's SDKs can start it as they start the official command line.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const version = "sagakit-devserver server 1.32.0 ui 2.54.1"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println(version)
		return
	}
	options, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if err := run(options); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(options *options) error {
	server, err := newServer(options)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if err := server.Start(); err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	defer func() { _ = server.Stop() }()
	if !options.headless {
		ui := newUI(options)
		go func() {
			if err := ui.Start(); err != nil {
				fmt.Fprintln(os.Stderr, "the UI ended:", err)
			}
		}()
		defer ui.Stop()
	}
	<-stop
	return nil
}
