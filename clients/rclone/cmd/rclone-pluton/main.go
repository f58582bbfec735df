// rclone with a backend for pluton-fichier: all of rclone's own backends and commands, and the
// remote type `pluton`.
package main

import (
	_ "github.com/rclone/rclone/backend/all" // rclone's own backends
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/all"    // its commands
	_ "github.com/rclone/rclone/lib/plugin" // its plugins

	_ "pluton-fichier.example/rclone/pluton" // this one
)

func main() {
	cmd.Main()
}
