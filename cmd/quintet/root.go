package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor"
)

// Exit codes; see the package comment.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitAbsent  = 3
	exitRefused = 4
	exitSignal  = 128 // and the number of the signal
)

// stderrLog is standard error for the log, which does not wait for whoever reads it.
var stderrLog = supervisor.NewLateWriter(os.Stderr)

// logFlushMax is how long the end of a command waits for its log to be taken.
const logFlushMax = time.Second

// settings are the flags that every command has.
type settings struct {
	stateDir string
	json     bool
	verbose  bool
	signals  *signals
}

// errUsage marks errors of the command line.
var errUsage = errors.New("usage")

// errSilent marks a failure that the command has already told about.
var errSilent = errors.New("failed")

func run(args []string) int {
	signals, ctx := takeSignals()
	root := newRoot(signals)
	root.SetArgs(args)
	root.SetOut(stdout)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = stdout.err
	}
	if by := new(interrupted); err != nil && errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), by) {
		err = *by
	}
	stderrLog.Flush(logFlushMax)
	var program programEnded
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return exitFailed
	case errors.As(err, &program):
		return int(program)
	}
	fmt.Fprintf(os.Stderr, "quintet: %s\n", visible(err.Error(), "\n"))
	return exitCode(err)
}

func exitCode(err error) int {
	var refused *broker.Refused
	var by interrupted
	switch {
	case errors.As(err, &by):
		return exitSignal + int(by.by)
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &refused):
		return exitRefused
	case errors.Is(err, broker.ErrAbsent):
		return exitAbsent
	}
	return exitFailed
}

func newRoot(signals *signals) *cobra.Command {
	s := &settings{signals: signals}
	root := &cobra.Command{
		Use:   "quintet",
		Short: "Run storage, networks and other system services in isolated processes that survive kill -9",
		Long: `Quintet runs the services of a system (storage and networks first) in isolated processes.
Any of them can be killed, crash or be replaced under load: its clients notice a
pause of milliseconds, and nothing is lost and nothing runs twice.

Start with "quintet demo", then write a quintet.yaml and call "quintet up".

Exit codes: 0 success; 1 the operation failed; 2 wrong usage; 3 no supervisor is
running; 4 the supervisor refused; 128 and the number of the signal that ended the
command.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			slog.SetDefault(slog.New(supervisor.NewLog(stderrLog, s.level())))
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w; see `%s --help`", errUsage, err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&s.stateDir, "state", "", "state `directory` of the supervisor (default $XDG_RUNTIME_DIR/quintet, for root /run/quintet)")
	flags.BoolVar(&s.json, "json", false, "print JSON for programs instead of tables for people")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "log what happens")
	root.AddCommand(
		newUp(s), newDown(s), newPs(s), newRun(s), newRestart(s), newKill(s), newCapture(s),
		newDoctor(s), newVersion(s), newDemo(s), newBench(s), newMkfs(s), newFsck(s), newDebug(s), newInternal(s),
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			group(c)
		}
	}
	group(root)
	return root
}

// group makes a command that only has others below it refuse what is none of
// them.
func group(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %q?", near[0])
		}
		return fmt.Errorf("%w: %s has no command %q%s; see `%s --help`", errUsage, cmd.CommandPath(), args[0], hint, cmd.CommandPath())
	}
}

// usage checks the number of arguments and names what is missing.
func usage(min, max int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < min || max >= 0 && len(args) > max {
			return fmt.Errorf("%w: %s needs %s; see `%s --help`", errUsage, cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// level is what is logged.
func (s *settings) level() slog.Level {
	if s.verbose {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// dir is the state directory.
func (s *settings) dir() string {
	if s.stateDir != "" {
		return s.stateDir
	}
	return broker.DefaultStateDir()
}

// socket is the supervisor's socket. An explicit --state goes before the
// environment.
func (s *settings) socket() string {
	if path := os.Getenv(broker.SocketVariable); path != "" && s.stateDir == "" {
		return path
	}
	return broker.SocketPath(s.dir())
}

// connect connects to the running supervisor.
func (s *settings) connect(ctx context.Context) (*broker.Client, error) {
	return connect(ctx, s.socket(), s.own())
}

// own tells whether nobody has named the socket, so that whoever listens there has to
// be this user or root.
func (s *settings) own() bool { return s.stateDir == "" && os.Getenv(broker.SocketVariable) == "" }

func connect(ctx context.Context, socket string, own bool) (*broker.Client, error) {
	connect := broker.NewClient
	if own {
		connect = broker.NewOwnClient
	}
	return connect(ctx, socket, broker.Hello{Name: "quintet"}, nil)
}

// control runs one operation on the system and returns its report in JSON.
func control(ctx context.Context, c *broker.Client, verb, target string) ([]byte, error) {
	m, err := c.Ask(ctx, &broker.Control{Verb: verb, Target: target})
	if err != nil {
		return nil, err
	}
	defer m.CloseFDs()
	report, ok := m.Body.(*broker.Report)
	if !ok {
		return nil, fmt.Errorf("%w: not a report", broker.ErrMalformed)
	}
	fd, err := unix.Dup(m.FDs[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "report")
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, report.Bytes))
}
