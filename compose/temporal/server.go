package main

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/google/uuid"
	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
)

const (
	clusterName = "active"
	storeName   = "sqlite"
)

func newServer(o *options) (temporal.Server, error) {
	store := &config.SQL{PluginName: sqliteplugin.PluginName, ConnectAttributes: map[string]string{}}
	isNew := true
	if o.database == "" {
		store.DatabaseName = "sagakit-" + uuid.NewString()
		store.ConnectAttributes["mode"] = "memory"
		store.ConnectAttributes["cache"] = "shared"
	} else {
		store.DatabaseName = o.database
		store.ConnectAttributes["mode"] = "rwc"
		info, err := os.Stat(o.database)
		isNew = err != nil || info.Size() == 0
	}
	for name, value := range o.pragmas {
		store.ConnectAttributes["_"+name] = value
	}
	if isNew && o.database != "" {
		if err := sqliteschema.SetupSchema(store); err != nil {
			return nil, fmt.Errorf("%s: %w", o.database, err)
		}
	} else if isNew {
		store.ConnectAttributes["setup"] = "true" // a memory store lives as long as its connection, which sets it up
	}
	for _, name := range o.namespaces {
		namespace, err := sqliteschema.NewNamespaceConfig(clusterName, name, false, o.attributes)
		if err != nil {
			return nil, err
		}
		if err := sqliteschema.CreateNamespaces(store, namespace); err != nil {
			return nil, err
		}
	}
	settings, hosts, err := settingsOf(o, store)
	if err != nil {
		return nil, err
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Stdout: true, Level: o.logLevel, Format: format(o.logFormat)}))
	return temporal.NewServer(
		temporal.WithConfig(settings),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
		temporal.WithDynamicConfigClient(dynamic(o)),
	)
}

func format(given string) string {
	if given == "json" {
		return "json"
	}
	return "console"
}

func settingsOf(o *options, store *config.SQL) (*config.Config, map[primitives.ServiceName]static.Hosts, error) {
	ports := map[primitives.ServiceName]int{primitives.FrontendService: o.port}
	hosts := map[primitives.ServiceName]static.Hosts{}
	services := map[string]config.Service{}
	for _, name := range []primitives.ServiceName{
		primitives.FrontendService, primitives.HistoryService, primitives.MatchingService, primitives.WorkerService,
	} {
		port, given := ports[name]
		if !given {
			free, err := freePort(o.ip)
			if err != nil {
				return nil, nil, err
			}
			port = free
		}
		hosts[name] = static.SingleLocalHost(net.JoinHostPort(o.ip, fmt.Sprint(port)))
		services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: o.ip}}
	}
	settings := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     storeName,
			VisibilityStore:  storeName,
			NumHistoryShards: 1,
			DataStores:       map[string]config.DataStore{storeName: {SQL: store}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
				Enabled:                true,
				InitialFailoverVersion: 1,
				RPCAddress:             net.JoinHostPort(o.ip, fmt.Sprint(o.port)),
				// Stable for a name, so that a restart on the same file finds the cluster it knows.
				ClusterID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("sagakit-devserver")).String(),
			}},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services:            services,
		Archival: config.Archival{
			History:    config.HistoryArchival{State: "disabled"},
			Visibility: config.VisibilityArchival{State: "disabled"},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
		}},
		PublicClient: config.PublicClient{HostPort: net.JoinHostPort(o.ip, fmt.Sprint(o.port))},
	}
	return settings, hosts, nil
}

// dynamic starts from what the official dev server sets; the arguments overrule it.
func dynamic(o *options) dynamicconfig.StaticClient {
	client := dynamicconfig.StaticClient{
		dynamicconfig.MakeKey("system.forceSearchAttributesCacheRefreshOnRead"): true,
		dynamicconfig.MakeKey("frontend.persistenceMaxQPS"):                     10000,
		dynamicconfig.MakeKey("history.persistenceMaxQPS"):                      45000,
		dynamicconfig.MakeKey("history.cacheMaxSize"):                           8096,
	}
	for name, value := range o.dynamic {
		client[dynamicconfig.MakeKey(name)] = value
	}
	return client
}

func newUI(o *options) *uiserver.Server {
	return uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		TemporalGRPCAddress: net.JoinHostPort(o.ip, fmt.Sprint(o.port)),
		Host:                strings.Trim(o.ip, "[]"),
		Port:                o.uiPort,
		EnableUI:            true,
		DisableNewsFetch:    true,
		HideLogs:            true,
		CORS:                uiconfig.CORS{CookieInsecure: true},
	}))
}
