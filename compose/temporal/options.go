package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
)

type options struct {
	ip, database, logLevel, logFormat string
	port, uiPort                      int
	headless                          bool
	namespaces                        []string
	pragmas                           map[string]string
	dynamic                           map[string]any
	attributes                        map[string]enumspb.IndexedValueType
}

// parse reads the arguments of `temporal server start-dev`; what it does not know is refused, not ignored.
func parse(arguments []string) (*options, error) {
	if len(arguments) < 2 || arguments[0] != "server" || arguments[1] != "start-dev" {
		return nil, fmt.Errorf("usage: server start-dev --port N [--db-filename FILE] [--ui-port N | --headless]")
	}
	o := &options{
		namespaces: []string{"default"},
		pragmas:    map[string]string{},
		dynamic:    map[string]any{},
		attributes: map[string]enumspb.IndexedValueType{},
	}
	flags := flag.NewFlagSet("start-dev", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&o.port, "port", 7233, "")
	flags.IntVar(&o.uiPort, "ui-port", 0, "")
	flags.StringVar(&o.ip, "ip", "127.0.0.1", "")
	flags.StringVar(&o.database, "db-filename", "", "")
	flags.BoolVar(&o.headless, "headless", false, "")
	flags.StringVar(&o.logLevel, "log-level", "warn", "")
	flags.StringVar(&o.logFormat, "log-format", "pretty", "")
	flags.Func("namespace", "", func(value string) error {
		if value != "default" {
			o.namespaces = append(o.namespaces, value)
		}
		return nil
	})
	flags.Func("sqlite-pragma", "", func(value string) error { return pair(value, o.pragmas) })
	flags.Func("search-attribute", "", o.searchAttribute)
	flags.Func("dynamic-config-value", "", o.dynamicValue)
	if err := flags.Parse(arguments[2:]); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.uiPort == 0 {
		o.uiPort = o.port + 1000
	}
	return o, nil
}

func pair(value string, into map[string]string) error {
	key, text, found := strings.Cut(value, "=")
	if !found || key == "" {
		return fmt.Errorf("expected NAME=VALUE, not %q", value)
	}
	into[key] = text
	return nil
}

func (o *options) searchAttribute(value string) error {
	given := map[string]string{}
	if err := pair(value, given); err != nil {
		return err
	}
	for name, kind := range given {
		indexed, err := enumspb.IndexedValueTypeFromString(kind)
		if err != nil {
			return fmt.Errorf("search attribute %s: %w", name, err)
		}
		o.attributes[name] = indexed
	}
	return nil
}

func (o *options) dynamicValue(value string) error {
	given := map[string]string{}
	if err := pair(value, given); err != nil {
		return err
	}
	for name, text := range given {
		var decoded any
		if err := json.Unmarshal([]byte(text), &decoded); err != nil {
			return fmt.Errorf("dynamic config %s: %q is not JSON", name, text)
		}
		// The server's settings tell int from float64; JSON does not.
		if number, isNumber := decoded.(float64); isNumber && number == math.Trunc(number) {
			decoded = int(number)
		}
		o.dynamic[name] = decoded
	}
	return nil
}
