// Package cli is k3s's command line: the program, its commands and how they end.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/bundle"
	"sandbar.dev/hack/k3s/internal/configfile"
	"sandbar.dev/hack/k3s/internal/join"
	"sandbar.dev/hack/k3s/internal/kubectl"
	"sandbar.dev/hack/k3s/internal/logging"
	"sandbar.dev/hack/k3s/internal/server"
	"sandbar.dev/hack/k3s/internal/version"
)

const defaultConfig = "/etc/rancher/" + version.Program + "/config.yaml"

// Main runs the program and ends the process.
func Main(args []string) {
	args, err := parser().Expand(args)
	if err != nil {
		logrus.Fatal(err)
	}
	if err := newApp().Run(args); err != nil && !errors.Is(err, context.Canceled) {
		logrus.Fatalf("Error: %v", err)
	}
	logrus.Exit(0)
}

func parser() *configfile.Parser {
	names := func(flags []cli.Flag) map[string]bool {
		valid := map[string]bool{}
		for _, f := range flags {
			for _, n := range f.Names() {
				valid[n] = true
			}
		}
		return valid
	}
	return &configfile.Parser{
		Commands: []string{"server", "agent"},
		Flags:    []string{"--config", "-c"},
		Env:      version.ProgramUpper + "_CONFIG_FILE",
		Default:  defaultConfig,
		Valid: map[string]map[string]bool{
			"server": names(serverFlags(&server.Options{}, new(bool))),
			"agent":  names(agentFlags(&join.Options{}, new(bool))),
		},
		Warn: logrus.Warnf,
	}
}

func newApp() *cli.App {
	var debug bool
	setDebug := func(*cli.Context) error {
		if debug {
			logrus.SetLevel(logrus.DebugLevel)
		}
		return nil
	}
	app := cli.NewApp()
	app.Name = version.Program
	app.Usage = "Kubernetes, but small and simple (a stand-in for k3s, built from upstream modules)"
	app.Version = version.Full()
	app.DisableSliceFlagSeparator = true
	cli.VersionPrinter = func(*cli.Context) {
		fmt.Printf("%s version %s\n", version.Program, version.Full())
		fmt.Printf("go version %s\n", version.Go())
	}
	app.Flags = []cli.Flag{debugFlag(&debug)}
	app.Before = setDebug
	// The error is logged once, at the end, by Main.
	app.ExitErrHandler = func(*cli.Context, error) {}

	options, joining := &server.Options{}, &join.Options{}
	app.Commands = []*cli.Command{
		{
			Name: "server", Usage: "Run management server", UsageText: version.Program + " server [OPTIONS]",
			Flags: serverFlags(options, &debug), Before: setDebug,
			Action: func(c *cli.Context) error { return runServer(c, options) },
		},
		{
			Name: "agent", Usage: "Run node agent", UsageText: version.Program + " agent [OPTIONS]",
			Flags: agentFlags(joining, &debug), Before: setDebug,
			Action: func(c *cli.Context) error { return runAgent(c, joining) },
		},
		{
			Name: "kubectl", Usage: "Run kubectl", SkipFlagParsing: true, HideHelp: true, HideHelpCommand: true,
			Action: func(c *cli.Context) error { return kubectl.Main(c.Args().Slice()) },
		},
	}
	for _, name := range []string{"ctr", "crictl"} {
		app.Commands = append(app.Commands, &cli.Command{
			Name: name, Usage: "Run " + name, SkipFlagParsing: true, HideHelp: true, HideHelpCommand: true,
			Action: func(c *cli.Context) error { return bundle.Run(name, c.Args().Slice()) },
		})
	}
	return withStubs(app)
}

// withStubs adds the commands of k3s that the stand-in does not have, so that they say so.
func withStubs(app *cli.App) *cli.App {
	for _, s := range [][2]string{
		{"check-config", "Run config check"}, {"token", "Manage tokens"}, {"certificate", "Manage K3s certificates"},
		{"etcd-snapshot", "Manage etcd snapshots"}, {"secrets-encrypt", "Control secrets encryption"},
		{"completion", "Install shell completion script"},
	} {
		name := s[0]
		app.Commands = append(app.Commands, &cli.Command{
			Name: name, Usage: s[1] + " (not in this stand-in)", SkipFlagParsing: true, HideHelp: true, HideHelpCommand: true,
			Action: func(*cli.Context) error {
				return fmt.Errorf("`%s %s` is not in this stand-in", version.Program, name)
			},
		})
	}
	return app
}

func runServer(c *cli.Context, o *server.Options) error {
	if err := begin(c, o.LogFile, o.AlsoLogToStderr); err != nil {
		return err
	}
	if !o.DisableAgent || o.FlannelBackend != "none" { // else nobody would look for them
		if err := stage(o.DataDir, o.Agent.PreferBundledBin); err != nil {
			return err
		}
	}
	config, err := server.NewConfig(o)
	if err != nil {
		return err
	}
	warnInert(c, inertFlags())
	logrus.Infof("Starting %s %s (a stand-in, not k3s itself)", version.Program, version.Full())
	return server.Run(signals(), config)
}

func runAgent(c *cli.Context, o *join.Options) error {
	if err := begin(c, o.LogFile, o.AlsoLogToStderr); err != nil {
		return err
	}
	if os.Getuid() != 0 && !o.Rootless {
		return errors.New("agent requires additional privilege if not run with --rootless: not running as root")
	}
	if err := stage(o.DataDir, o.Agent.PreferBundledBin); err != nil {
		return err
	}
	dir, err := server.DataDir(o.DataDir)
	if err != nil {
		return err
	}
	o.DataDir = dir
	config, err := join.NewConfig(o)
	if err != nil {
		return err
	}
	warnInert(c, inertAgentFlags())
	logrus.Infof("Starting %s agent %s (a stand-in, not k3s itself)", version.Program, version.Full())
	return join.Run(signals(), config)
}

func begin(c *cli.Context, logFile string, alsoStderr bool) error {
	if c.NArg() > 0 {
		logrus.Warnf("ignoring arguments: %v", c.Args().Slice())
	}
	return logging.Setup(logFile, alsoStderr)
}

// stage puts the node's programs, if this k3s has any, below the data directory and on PATH.
func stage(dataDir string, preferBundled bool) error {
	source := bundle.Source()
	if source == "" {
		return nil
	}
	dir, err := server.DataDir(dataDir)
	if err != nil {
		return err
	}
	_, err = bundle.Stage(source, dir, preferBundled)
	return err
}

// signals returns a context that ends with the first SIGTERM or SIGINT; the second ends the process.
func signals() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan os.Signal, 2)
	signal.Notify(got, syscall.SIGTERM, os.Interrupt)
	go func() {
		s := <-got
		logrus.Infof("Received %s, shutting down", s)
		cancel()
		<-got
		logrus.Exit(1)
	}()
	return ctx
}
