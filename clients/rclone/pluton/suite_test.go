package pluton_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rclone/rclone/backend/chunker"
	"github.com/rclone/rclone/backend/crypt"
	_ "github.com/rclone/rclone/backend/local" // rclone's suite keeps its files there
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/fstest/fstests"

	"pluton-fichier.example/rclone/pluton"
)

// repository is where the sources are: the tests run elsewhere.
var repository string

// TestMain gives rclone an empty configuration: nothing of this machine is used.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		directory, err := os.MkdirTemp("", "rclone-pluton-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(directory)
		config := filepath.Join(directory, "rclone.conf")
		if err := os.WriteFile(config, nil, 0o600); err != nil {
			panic(err)
		}
		// rclone's suite looks here for scripts that start the servers of its own backends.
		if err := os.MkdirAll(filepath.Join(directory, "fstest/testserver/init.d"), 0o700); err != nil {
			panic(err)
		}
		if repository, err = filepath.Abs("../../.."); err != nil {
			panic(err)
		}
		if err := os.Chdir(directory); err != nil {
			panic(err)
		}
		os.Setenv("RCLONE_CONFIG", config)
		os.Setenv("RCLONE_CACHE_DIR", directory)
		return m.Run()
	}())
}

type item = fstests.ExtraConfigItem

func settings(name string, values ...string) (items []item) {
	for i := 0; i < len(values); i += 2 {
		items = append(items, item{Name: name, Key: values[i], Value: values[i+1]})
	}
	return items
}

func remote(name string, w world, values ...string) []item {
	return settings(name, append([]string{"type", "pluton", "address", w.address}, values...)...)
}

// The whole of rclone's suite for backends.
func TestSuite(t *testing.T) {
	w := newWorld(t, "none")
	fstests.Run(t, &fstests.Opt{
		RemoteName:  "Suite:",
		NilObject:   (*pluton.Object)(nil),
		ExtraConfig: remote("Suite", w),
	})
}

// Again, below a directory, with the checksums that the server records.
func TestSuiteBelowDirectory(t *testing.T) {
	w := newWorld(t, "none")
	fstests.Run(t, &fstests.Opt{
		RemoteName:  "Below:some/where",
		NilObject:   (*pluton.Object)(nil),
		ExtraConfig: remote("Below", w, "recorded_hashes", "true"),
	})
}

// Through rclone's encryption, which asks for everything in its own way.
func TestSuiteCrypt(t *testing.T) {
	w := newWorld(t, "none")
	fstests.Run(t, &fstests.Opt{
		RemoteName: "Crypt:",
		NilObject:  (*crypt.Object)(nil),
		ExtraConfig: append(remote("UnderCrypt", w), settings("Crypt",
			"type", "crypt",
			"remote", "UnderCrypt:crypt",
			"password", obscure.MustObscure("potato"),
		)...),
		// What no remote has through it.
		UnimplementableFsMethods:     []string{"OpenWriterAt", "OpenChunkWriter"},
		UnimplementableObjectMethods: []string{"MimeType"},
	})
}

// Through rclone's chunker, which cuts files into parts.
func TestSuiteChunker(t *testing.T) {
	w := newWorld(t, "none")
	fstests.Run(t, &fstests.Opt{
		RemoteName: "Chunker:",
		NilObject:  (*chunker.Object)(nil),
		ExtraConfig: append(remote("UnderChunker", w), settings("Chunker",
			"type", "chunker",
			"remote", "UnderChunker:chunker",
			"chunk_size", "50b",
		)...),
		// What no remote has through it.
		UnimplementableObjectMethods: []string{"MimeType", "GetTier", "SetTier", "Metadata", "SetMetadata"},
		UnimplementableFsMethods: []string{
			"PublicLink", "OpenWriterAt", "OpenChunkWriter", "MergeDirs", "DirCacheFlush",
			"UserInfo", "Disconnect", "ListP",
		},
	})
}

// With 1Fichier's documented limits, three calls a second among them: nothing may be asked for too
// often, and all must go well in its time.
func TestSuiteUnderLimits(t *testing.T) {
	w := newWorld(t, "documented")
	fstests.Run(t, &fstests.Opt{
		RemoteName:  "Limits:",
		NilObject:   (*pluton.Object)(nil),
		ExtraConfig: remote("Limits", w),
	})
	if calls := w.calls(t); calls.Floods != 0 {
		t.Errorf("the account was flooded: %+v", calls)
	}
}
