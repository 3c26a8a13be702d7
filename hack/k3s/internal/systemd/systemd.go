// Package systemd tells the init system, if it wants to know, that we are ready.
package systemd

import (
	"net"
	"os"

	"github.com/sirupsen/logrus"
)

// TakeSocket hides the init system's socket from the components, which would speak up too early,
// and from child processes.
func TakeSocket() string {
	socket := os.Getenv("NOTIFY_SOCKET")
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return socket
}

// Ready is systemd's sd_notify.
func Ready(socket string) {
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		logrus.Warnf("Failed to notify the init system: %v", err)
		return
	}
	_, _ = conn.Write([]byte("READY=1\n"))
	_ = conn.Close()
}
