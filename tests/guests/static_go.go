// A static Go program: files read from many goroutines, commands run from many threads, signals while both go on. ARGS: none, or a
// fake and a redirect with the file behind it.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "child" {
		os.Exit(7)
	}
	got := make(chan os.Signal, 1000)
	signal.Notify(got, syscall.SIGUSR1)
	var wrong atomic.Int64
	var work sync.WaitGroup
	each := func(count int, what func() error) {
		for range count {
			work.Go(func() {
				for range 20 {
					if err := what(); err != nil {
						wrong.Add(1)
						fmt.Println("FAIL", err)
					}
				}
			})
		}
	}
	expect := func(path, want string) func() error {
		return func() error {
			text, err := os.ReadFile(path)
			if err == nil && string(text) != want {
				err = fmt.Errorf("%s: %q", path, text)
			}
			return err
		}
	}
	each(10, expect("/dev/null", ""))
	each(5, func() error {
		if _, err := os.Stat("/no/such"); !os.IsNotExist(err) {
			return fmt.Errorf("stat: %v", err)
		}
		return nil
	})
	if len(os.Args) == 4 {
		each(10, expect(os.Args[1], "fake\n"))
		real, _ := os.ReadFile(os.Args[3])
		each(10, expect(os.Args[2], string(real)))
	}
	for range 4 {
		work.Go(func() {
			for range 5 {
				err := exec.Command("/proc/self/exe", "child").Run()
				exit, ok := err.(*exec.ExitError)
				if !ok || exit.ExitCode() != 7 {
					wrong.Add(1)
					fmt.Println("FAIL child", err)
				}
			}
		})
	}
	for range 20 {
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		time.Sleep(time.Millisecond)
	}
	work.Wait()
	if _, err := exec.Command("/no/such").Output(); err == nil {
		wrong.Add(1)
	}
	fmt.Println("signals arrived:", len(got) > 0)
	fmt.Println("wrong:", wrong.Load())
	if wrong.Load() > 0 {
		os.Exit(1)
	}
}
